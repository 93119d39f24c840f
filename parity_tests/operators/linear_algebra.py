"""Matrix products, einsum, linear layers and attention."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from parity_tests.operators.inputs import ORDINARY, drawn
from parity_tests.operators.operator import Operator
from parity_tests.operators.reductions import softmax

NO_ROWS, NO_INNER = (np.zeros((0, 6)), drawn(6, 5)), (np.zeros((4, 0)), np.zeros((0, 5)))
MATRICES = {"ordinary": (ORDINARY, drawn(6, 5, seed=1)), "empty": NO_ROWS, "empty sum": NO_INNER}
BATCHES = {
    "ordinary": (drawn(2, 3, 4), drawn(2, 4, 5, seed=1)),
    "empty": (np.zeros((0, 3, 4)), np.zeros((0, 4, 5))),
}
HEADS = {"ordinary": (drawn(2, 2, 3, 4), drawn(2, 2, 4, 5, seed=1))}
QUERIES = {
    "ordinary": (drawn(2, 2, 3, 4), drawn(2, 2, 5, 4, seed=1), drawn(2, 2, 5, 4, seed=2)),
    "large scores": (drawn(2, 2, 3, 4, scale=4), drawn(2, 2, 5, 4, seed=1, scale=4), drawn(2, 2, 5, 4, seed=2)),
}
SHOWN = np.asarray(
    [[True, False, True, True, False], [True, True, True, False, True], [False, True, True, True, True]]
)
MASKED = {"ordinary": (*QUERIES["ordinary"], SHOWN)}
LINEAR = {
    "ordinary": (drawn(2, 3, 4), drawn(5, 4, seed=1), drawn(5, seed=2)),
    "empty": (np.zeros((0, 3, 4)), drawn(5, 4, seed=1), drawn(5, seed=2)),
}
SQUARE = {"ordinary": (drawn(3, 3) + 3 * np.eye(3),)}


def attention(q, k, v, mask=None):
    """Scaled dot-product attention; ``mask``: True shows a key."""
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(np.longdouble(q.shape[-1]))
    return softmax(scores if mask is None else np.where(mask, scores, -np.inf)) @ v


def twin_attention(jt, q, k, v):
    """The twin's, heads side by side in the last axis."""
    from frameworks.jittor_rtdetr import operators

    sides = [x.permute(0, 2, 1, 3).reshape((x.shape[0], x.shape[2], -1)) for x in (q, k, v)]
    mixed: Any = operators.attention(sides[0], sides[1], sides[2], None, q.shape[1])
    return mixed.reshape((q.shape[0], q.shape[2], q.shape[1], -1)).permute(0, 2, 1, 3)


def twin_masked_attention(jt, q, k, v, mask):
    """The twin's, heads side by side in the last axis; it takes what is hidden."""
    from frameworks.jittor_rtdetr import operators

    sides = [x.permute(0, 2, 1, 3).reshape((x.shape[0], x.shape[2], -1)) for x in (q, k, v)]
    mixed: Any = operators.attention(sides[0], sides[1], sides[2], jt.logical_not(mask), q.shape[1])
    return mixed.reshape((q.shape[0], q.shape[2], q.shape[1], -1)).permute(0, 2, 1, 3)


def twin_linear(jt, x, w, b):
    """The twin's."""
    from frameworks.jittor_rtdetr import operators

    return operators.linear(x, w, b)


def twin_matmul(jt, x, y):
    """The twin's."""
    from frameworks.jittor_rtdetr import operators

    return operators.batched_matmul(x, y)


OPERATORS = [
    Operator(
        "matmul",
        truth=lambda x, y: x @ y,
        torch=lambda x, y: x @ y,
        jittor=lambda jt, x, y: x @ y,
        inputs=MATRICES,
        twin="operators.py",
    ),
    Operator(
        "matmul of batches",
        truth=lambda x, y: x @ y,
        torch=lambda x, y: torch.bmm(x, y),
        jittor=lambda jt, x, y: jt.bmm(x, y),
        inputs=BATCHES,
        instead=twin_matmul,
        twin="operators.py",
        note="a plain loop on a CPU, many times slower than one product per matrix",
    ),
    Operator(
        "matmul of four axes",
        truth=lambda x, y: x @ y,
        torch=lambda x, y: x @ y,
        jittor=lambda jt, x, y: jt.matmul(x, y),
        inputs=HEADS,
        instead=twin_matmul,
        twin="operators.py",
    ),
    Operator(
        "matmul, broadcast",
        truth=lambda x, y: x @ y[0],
        torch=lambda x, y: x @ y[0],
        jittor=lambda jt, x, y: jt.matmul(x, y[0]),
        inputs={"ordinary": BATCHES["ordinary"]},
    ),
    Operator(
        "matmul with a vector",
        truth=lambda x, y: x @ y[:, 0],
        torch=lambda x, y: x @ y[:, 0],
        jittor=lambda jt, x, y: x @ y[:, 0],
        inputs={"ordinary": MATRICES["ordinary"]},
    ),
    Operator(
        "dot of vectors",
        truth=lambda x: x[0] @ x[1],
        torch=lambda x: torch.dot(x[0], x[1]),
        jittor=lambda jt, x: jt.matmul(x[0], x[1]),
        inputs={"ordinary": (ORDINARY,)},
        instead=lambda jt, x: (x[0] * x[1]).sum(),
    ),
    Operator(
        "outer",
        truth=lambda x: np.outer(x[0], x[1]),
        torch=lambda x: torch.outer(x[0], x[1]),
        jittor=lambda jt, x: jt.outer(x[0], x[1]),
        inputs={"ordinary": (ORDINARY,)},
    ),
    Operator(
        "baddbmm",
        truth=lambda x, y: 1 + x @ y,
        torch=lambda x, y: torch.baddbmm(torch.ones(1, 3, 5, dtype=x.dtype), x, y),
        jittor=lambda jt, x, y: jt.nn.baddbmm(jt.ones((1, 3, 5), dtype=str(x.dtype)), x, y),
        inputs={"ordinary": BATCHES["ordinary"]},
    ),
    Operator(
        "einsum, batches",
        truth=lambda x, y: np.einsum("bij,bjk->bik", x, y),
        torch=lambda x, y: torch.einsum("bij,bjk->bik", x, y),
        jittor=lambda jt, x, y: jt.linalg.einsum("bij,bjk->bik", x, y),
        inputs={"ordinary": BATCHES["ordinary"]},
    ),
    Operator(
        "einsum, sums",
        truth=lambda x, y: np.einsum("bij,bjk->b", x, y),
        torch=lambda x, y: torch.einsum("bij,bjk->b", x, y),
        jittor=lambda jt, x, y: jt.linalg.einsum("bij,bjk->b", x, y),
        inputs={"ordinary": BATCHES["ordinary"]},
    ),
    Operator(
        "linear",
        truth=lambda x, w, b: x @ w.T + b,
        torch=lambda x, w, b: F.linear(x, w, b),
        jittor=lambda jt, x, w, b: jt.nn.linear(x, w, b),
        inputs=LINEAR,
        instead=twin_linear,
        twin="operators.py",
        note="an error where there are no rows",
    ),
    Operator(
        "scaled_dot_product_attention",
        truth=lambda q, k, v: attention(q, k, v),
        torch=lambda q, k, v: F.scaled_dot_product_attention(q, k, v),
        jittor=lambda jt, q, k, v: jt.attention.scaled_dot_product_attention(q, k, v),
        inputs=QUERIES,
        instead=twin_attention,
        twin="operators.py",
    ),
    Operator(
        "attention with a mask of bools",
        truth=lambda q, k, v, m: attention(q, k, v, m),
        torch=lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, attn_mask=m),
        jittor=lambda jt, q, k, v, m: jt.attention.scaled_dot_product_attention(q, k, v, attn_mask=m),
        inputs=MASKED,
        instead=twin_masked_attention,
        twin="operators.py",
        note="the branch for bools uses a name that does not exist",
        defect="attention_bool_mask",
    ),
    Operator(
        "inverse of a matrix",
        truth=lambda x: np.linalg.inv(np.asarray(x, np.float64)),
        torch=lambda x: torch.linalg.inv(x),
        jittor=lambda jt, x: jt.linalg.inv(x),
        inputs=SQUARE,
    ),
    Operator(
        "determinant",
        truth=lambda x: np.linalg.det(np.asarray(x, np.float64)),
        torch=lambda x: torch.linalg.det(x),
        jittor=lambda jt, x: jt.linalg.det(x),
        inputs=SQUARE,
    ),
    Operator(
        "cdist, p = 1",
        truth=lambda x: np.abs(x[:, None] - x[None]).sum(-1)[0, 1:],
        torch=lambda x: torch.cdist(x[:1], x[1:], p=1)[0],
        jittor=lambda jt, x: jt.cdist(x[:1], x[1:], p=1)[0],
        inputs={"ordinary": (ORDINARY,)},
        instead=lambda jt, x: jt.abs(x[:1] - x[1:]).sum(-1),
        twin="criterion.py",
    ),
    Operator(
        "cross",
        truth=lambda x: np.cross(x[:, :3], x[:, 3:]),
        torch=lambda x: torch.linalg.cross(x[:, :3], x[:, 3:]),
        jittor=lambda jt, x: jt.cross(x[:, :3], x[:, 3:]),
        inputs={"ordinary": (ORDINARY,)},
    ),
]
