"""Indexing, gathering, scattering, assignment and masks."""

import numpy as np
import torch
import torch.nn.functional as F

from parity_tests.operators.inputs import NONE, ORDINARY, drawn, indices
from parity_tests.operators.operator import Operator

ROWS = {
    "ordinary": (ORDINARY, indices(5, below=4)),
    "repeated": (ORDINARY, np.asarray([1, 1, 3, 1])),
    "no index": (ORDINARY, np.zeros(0, np.int64)),
}
ONE = {"ordinary": (ORDINARY,)}
MASKS = {
    "ordinary": (ORDINARY, ORDINARY > 0),
    "none": (ORDINARY, np.zeros((4, 6), bool)),
    "empty": (NONE, np.zeros((0, 6), bool)),
}
GATHERED = {
    "ordinary": (ORDINARY, indices(4, 3, below=6)),
    "repeated": (ORDINARY, np.full((4, 3), 2)),
    "no index": (ORDINARY, np.zeros((4, 0), np.int64)),
}
SCATTERED = {
    "ordinary": (ORDINARY, np.tile(np.asarray([2, 0, 5]), (4, 1)), drawn(4, 3, seed=1)),
    "no index": (ORDINARY, np.zeros((4, 0), np.int64), np.zeros((4, 0))),
}
ADDED = SCATTERED | {"repeated": (ORDINARY, np.full((4, 3), 2), drawn(4, 3, seed=1))}
WHOLE = {"ordinary": (np.asarray([3, 1, 2, 3, 1, 1, 7]),)}


def add_at(x, i, y):
    """x with y added at columns i of each row, repeated ones too."""
    result = x.copy()
    np.add.at(result, (np.arange(len(x))[:, None], i), y)
    return result


def put(x, i, y):
    """x with y at columns i of each row."""
    result = x.copy()
    np.put_along_axis(result, i, y, 1)
    return result


def assigned(x, place, value):
    """A copy of x with ``value`` at ``place``."""
    result = x.copy()
    result[place] = value
    return result


def torch_row(x):
    """Assign to a row of a copy."""
    y = x.clone()
    y[1, 2:4] = 2 * x[0, :2]
    return y


def jittor_row(jt, x):
    """Assign to a row of a copy."""
    y = x.clone()
    y[1, 2:4] = 2 * x[0, :2]
    return y


def torch_mask(x, m):
    """Assign to masked elements of a copy."""
    y = x.clone()
    y[m] = 0.5
    return y


def jittor_mask(jt, x, m):
    """Assign to masked elements of a copy."""
    y = x.clone()
    y[m] = 0.5
    return y


def torch_rows(x, i):
    """Assign to the rows i of a copy."""
    y = x.clone()
    y[i] = 3 * x[i]
    return y


def jittor_rows(jt, x, i):
    """Assign to the rows i of a copy."""
    y = x.clone()
    y[i] = 3 * x[i]
    return y


def torch_view(x):
    """Write to a slice of a copy: a view in PyTorch."""
    y = x.clone()
    part = y[1]
    part += 1
    return y


def jittor_view(jt, x):
    """Write to a slice of a copy."""
    y = x.clone()
    part = y[1]
    part += 1
    return y


def jittor_view_instead(jt, x):
    """Assign the changed slice."""
    y = x.clone()
    y[1] = y[1] + 1
    return y


OPERATORS = [
    Operator(
        "x[i]",
        truth=lambda x, i: x[i],
        torch=lambda x, i: x[i],
        jittor=lambda jt, x, i: x[i],
        inputs=ROWS,
        twin="criterion.py",
    ),
    Operator(
        "x[i, j]",
        truth=lambda x, i: x[i, i],
        torch=lambda x, i: x[i, i],
        jittor=lambda jt, x, i: x[i, i],
        inputs=ROWS,
        twin="criterion.py",
    ),
    Operator(
        "x[:, i]",
        truth=lambda x, i: x[:, i],
        torch=lambda x, i: x[:, i],
        jittor=lambda jt, x, i: x[:, i],
        inputs=ROWS,
        twin="criterion.py",
    ),
    Operator(
        "x[-i]",
        truth=lambda x, i: x[-i],
        torch=lambda x, i: x[-i],
        jittor=lambda jt, x, i: x[-i],
        inputs=ROWS,
        instead=lambda jt, x, i: x[(x.shape[0] - i) % x.shape[0]],
        note="the value is right, the gradient of a negative index is lost",
        defect="negative_index_gradient",
    ),
    Operator(
        "slices",
        truth=lambda x: (x[1:3, -2:], x[:, ::2], x[-1], x[..., None, 0], x[0:0]),
        torch=lambda x: (x[1:3, -2:], x[:, ::2], x[-1], x[..., None, 0], x[0:0]),
        jittor=lambda jt, x: (x[1:3, -2:], x[:, ::2], x[-1], x[..., None, 0], x[0:0]),
        inputs=ONE,
        twin="decoder.py",
        note="right in a process that computes in one dtype; the float64 gradient after the float32 one is garbage",
        defect="gradient_after_other_dtype",
    ),
    Operator(
        "x[mask]",
        truth=lambda x, m: x[m],
        torch=lambda x, m: x[m],
        jittor=lambda jt, x, m: x[m],
        inputs=MASKS,
    ),
    Operator(
        "masked_select",
        truth=lambda x, m: x[m],
        torch=lambda x, m: torch.masked_select(x, m),
        jittor=lambda jt, x, m: jt.masked_select(x, m),
        inputs={"ordinary": MASKS["ordinary"]},
        instead=lambda jt, x, m: x[m],
    ),
    Operator(
        "gather",
        truth=lambda x, i: np.take_along_axis(x, i, 1),
        torch=lambda x, i: x.gather(1, i),
        jittor=lambda jt, x, i: x.gather(1, i),
        inputs=GATHERED,
        twin="decoder.py",
    ),
    Operator(
        "reindex by an index",
        truth=lambda x, i: np.where(i[:, None] < 0, 0, x[i]),
        torch=lambda x, i: torch.where(i[:, None] < 0, 0, x[i]),
        jittor=lambda jt, x, i: x.reindex((len(i), 6), ["@e0(i0)", "i1"], extras=[i.int32()]),
        inputs={"ordinary": ROWS["ordinary"], "outside": (ORDINARY, np.asarray([2, -1, 0, -1]))},
        twin="attention.py",
    ),
    Operator(
        "index_select",
        truth=lambda x, i: x[i],
        torch=lambda x, i: x.index_select(0, i),
        jittor=lambda jt, x, i: x.index_select(0, i),
        inputs=ROWS,
    ),
    Operator(
        "take_along_dim",
        truth=lambda x, i: np.take_along_axis(x, i, 1),
        torch=lambda x, i: torch.take_along_dim(x, i, 1),
        jittor=lambda jt, x, i: jt.take_along_dim(x, i, 1),
        inputs={"ordinary": GATHERED["ordinary"]},
        instead=lambda jt, x, i: x.gather(1, i),
    ),
    Operator(
        "scatter",
        truth=lambda x, i, y: put(x, i, y),
        torch=lambda x, i, y: x.scatter(1, i, y),
        jittor=lambda jt, x, i, y: x.scatter(1, i, y),
        inputs=SCATTERED,
    ),
    Operator(
        "scatter_add",
        truth=lambda x, i, y: add_at(x, i, y),
        torch=lambda x, i, y: x.scatter_add(1, i, y),
        jittor=lambda jt, x, i, y: x.scatter_add(1, i, y),
        inputs=ADDED,
        instead=lambda jt, x, i, y: x.scatter(1, i, y, reduce="add"),
    ),
    Operator(
        "index_add",
        truth=lambda x, i: x + np.eye(4)[i].T @ x[i],
        torch=lambda x, i: x.index_add(0, i, x[i]),
        jittor=lambda jt, x, i: x.index_add(0, i, x[i]),
        inputs=ROWS,
        instead=lambda jt, x, i: x + (jt.nn.one_hot(i, 4).type_as(x).transpose(0, 1)) @ x[i],
        note="`index_add_` exists, works in place and returns nothing",
    ),
    Operator(
        "one_hot",
        truth=lambda i: np.eye(8, dtype=np.int64)[i],
        torch=lambda i: F.one_hot(i, 8),
        jittor=lambda jt, i: jt.nn.one_hot(i, 8),
        inputs=WHOLE,
    ),
    Operator(
        "embedding",
        truth=lambda x, i: x[i],
        torch=lambda x, i: F.embedding(i, x),
        jittor=lambda jt, x, i: jt.nn.embedding(i, x),
        inputs=ROWS,
        twin="decoder.py",
    ),
    Operator(
        "assign to a slice",
        truth=lambda x: assigned(x, (1, slice(2, 4)), 2 * x[0, :2]),
        torch=torch_row,
        jittor=jittor_row,
        inputs=ONE,
    ),
    Operator(
        "assign to a mask",
        truth=lambda x, m: assigned(x, m, 0.5),
        torch=torch_mask,
        jittor=jittor_mask,
        inputs=MASKS,
    ),
    Operator(
        "assign to rows",
        truth=lambda x, i: assigned(x, i, 3 * x[i]),
        torch=torch_rows,
        jittor=jittor_rows,
        inputs={"ordinary": (ORDINARY, np.asarray([2, 0])), "no index": ROWS["no index"]},
    ),
    Operator(
        "write through a view",
        truth=lambda x: assigned(x, 1, x[1] + 1),
        torch=torch_view,
        jittor=jittor_view,
        inputs=ONE,
        instead=jittor_view_instead,
        note="there are no views: a slice is a copy",
    ),
    Operator(
        "nonzero",
        truth=lambda x, m: np.argwhere(m),
        torch=lambda x, m: torch.nonzero(m),
        jittor=lambda jt, x, m: jt.nonzero(m),
        inputs=MASKS,
        gradient=False,
    ),
    Operator(
        "where(mask)",
        truth=lambda x, m: np.nonzero(m),
        torch=lambda x, m: torch.where(m),
        jittor=lambda jt, x, m: jt.where(m),
        inputs=MASKS,
        gradient=False,
    ),
]
