"""Shapes: joining, splitting, permuting, repeating, padding, and creating arrays."""

import numpy as np
import torch
import torch.nn.functional as F

from parity_tests.operators.inputs import NONE, ORDINARY, drawn
from parity_tests.operators.operator import Operator

TWO = {"ordinary": (ORDINARY, drawn(4, 6, seed=1)), "empty": (NONE, NONE), "one empty": (ORDINARY, NONE)}
ONE = {"ordinary": (ORDINARY,), "empty": (NONE,)}
CUBE = {"ordinary": (drawn(2, 3, 4),), "empty": (np.zeros((0, 3, 4)),)}
IMAGE = {"ordinary": (drawn(2, 3, 4, 5),)}
NOTHING: dict[str, tuple[np.ndarray, ...]] = {"ordinary": ()}
PADDED = ((0, 0), (0, 0), (2, 1), (1, 2))


def patches(x, size):
    """Windows of an image as columns."""
    seen = np.lib.stride_tricks.sliding_window_view(x, size, (2, 3)).transpose(0, 1, 4, 5, 2, 3)  # pyright: ignore
    return seen.reshape(len(x), x.shape[1] * size[0] * size[1], -1)


OPERATORS = [
    Operator(
        "cat",
        truth=lambda x, y: np.concatenate([x, y]),
        torch=lambda x, y: torch.cat([x, y]),
        jittor=lambda jt, x, y: jt.concat([x, y]),
        inputs=TWO,
        twin="encoder.py",
    ),
    Operator(
        "cat of the last axis",
        truth=lambda x, y: np.concatenate([x, y, x], -1),
        torch=lambda x, y: torch.cat([x, y, x], -1),
        jittor=lambda jt, x, y: jt.concat([x, y, x], -1),
        inputs={"ordinary": TWO["ordinary"], "empty": TWO["empty"]},
        twin="denoising.py",
    ),
    Operator(
        "cat of integers and floats",
        truth=lambda x, i: np.concatenate([x, i.astype(x.dtype)]),
        torch=lambda x, i: torch.cat([x, i]),
        jittor=lambda jt, x, i: jt.concat([x, i]),
        inputs={"ordinary": (ORDINARY, np.arange(24).reshape(4, 6))},
        instead=lambda jt, x, i: jt.concat([x, i.type_as(x)]),
        note="int64 makes float64 of float32",
    ),
    Operator(
        "stack",
        truth=lambda x, y: np.stack([x, y], -1),
        torch=lambda x, y: torch.stack([x, y], -1),
        jittor=lambda jt, x, y: jt.stack([x, y], -1),
        inputs={"ordinary": TWO["ordinary"], "empty": TWO["empty"]},
        twin="box_ops.py",
    ),
    Operator(
        "split",
        truth=lambda x: tuple(np.split(x, [1, 4], -1)),
        torch=lambda x: x.split([1, 3, 2], -1),
        jittor=lambda jt, x: x.split([1, 3, 2], -1),
        inputs=ONE,
        note="right in a process that computes in one dtype; the float64 gradient after the float32 one is garbage",
        defect="gradient_after_other_dtype",
    ),
    Operator(
        "chunk",
        truth=lambda x: tuple(np.split(x, 3, -1)),
        torch=lambda x: x.chunk(3, -1),
        jittor=lambda jt, x: x.chunk(3, -1),
        inputs=ONE,
    ),
    Operator(
        "unbind",
        truth=lambda x: tuple(x[..., n] for n in range(6)),
        torch=lambda x: x.unbind(-1),
        jittor=lambda jt, x: x.unbind(-1),
        inputs=ONE,
    ),
    Operator(
        "reshape",
        truth=lambda x: x.reshape(2, -1),
        torch=lambda x: x.reshape(2, -1),
        jittor=lambda jt, x: x.reshape(2, -1),
        inputs=ONE,
        twin="attention.py",
    ),
    Operator(
        "reshape of zeros with -1",
        truth=lambda x: x.reshape(0, 6),
        torch=lambda x: x.reshape(-1, 6),
        jittor=lambda jt, x: x.reshape(-1, 6),
        inputs={"empty": (NONE,)},
    ),
    Operator(
        "permute",
        truth=lambda x: x.transpose(2, 0, 1),
        torch=lambda x: x.permute(2, 0, 1),
        jittor=lambda jt, x: x.transpose(2, 0, 1),
        inputs=CUBE,
        twin="operators.py",
    ),
    Operator(
        "transpose of two axes",
        truth=lambda x: x.swapaxes(1, 2),
        torch=lambda x: x.transpose(1, 2),
        jittor=lambda jt, x: x.transpose(1, 2),
        inputs=CUBE,
    ),
    Operator(
        "flatten",
        truth=lambda x: x.reshape(2, 3, 20),
        torch=lambda x: x.flatten(2),
        jittor=lambda jt, x: x.flatten(2),
        inputs=IMAGE,
        twin="encoder.py",
    ),
    Operator(
        "squeeze",
        truth=lambda x: x[:, 0],
        torch=lambda x: x[:, :1].squeeze(1),
        jittor=lambda jt, x: x[:, :1].squeeze(1),
        inputs=ONE,
    ),
    Operator(
        "squeeze of an axis that isn't 1",
        truth=lambda x: x,
        torch=lambda x: x.squeeze(1),
        jittor=lambda jt, x: x.squeeze(1),
        inputs={"ordinary": (ORDINARY,)},
        note="an error, PyTorch changes nothing",
    ),
    Operator(
        "unsqueeze",
        truth=lambda x: x[:, None],
        torch=lambda x: x.unsqueeze(-2),
        jittor=lambda jt, x: x.unsqueeze(-2),
        inputs=ONE,
        twin="decoder.py",
    ),
    Operator(
        "expand",
        truth=lambda x: np.broadcast_to(x[:, None], (4, 3, 6)),
        torch=lambda x: x[:, None].expand(-1, 3, -1),
        jittor=lambda jt, x: x[:, None].expand(-1, 3, -1),
        inputs={"ordinary": (ORDINARY,)},
        twin="decoder.py",
    ),
    Operator(
        "repeat",
        truth=lambda x: np.tile(x, (2, 1, 3)),
        torch=lambda x: x.repeat(2, 1, 3),
        jittor=lambda jt, x: x.repeat(2, 1, 3),
        inputs=ONE,
    ),
    Operator(
        "tile",
        truth=lambda x: np.tile(x, (2, 3)),
        torch=lambda x: x.tile(2, 3),
        jittor=lambda jt, x: x.tile(2, 3),
        inputs={"ordinary": (ORDINARY,)},
        instead=lambda jt, x: x.repeat(2, 3),
    ),
    Operator(
        "repeat_interleave",
        truth=lambda x: np.repeat(x, 3, 1),
        torch=lambda x: x.repeat_interleave(3, 1),
        jittor=lambda jt, x: x.repeat_interleave(3, 1),
        inputs=ONE,
    ),
    Operator(
        "roll",
        truth=lambda x: np.roll(x, 2, 1),
        torch=lambda x: x.roll(2, 1),
        jittor=lambda jt, x: x.roll(2, 1),
        inputs={"ordinary": (ORDINARY,)},
    ),
    Operator(
        "flip",
        truth=lambda x: np.flip(x, 1),
        torch=lambda x: x.flip(1),
        jittor=lambda jt, x: x.flip(1),
        inputs=ONE,
    ),
    Operator(
        "pad by a fraction",
        truth=lambda x: np.pad(x, PADDED, constant_values=0.5),
        torch=lambda x: F.pad(x, (1, 2, 2, 1), value=0.5),
        jittor=lambda jt, x: jt.nn.pad(x, (1, 2, 2, 1), value=0.5),
        inputs=IMAGE,
        instead=lambda jt, x: jt.nn.pad(x - 0.5, (1, 2, 2, 1)) + 0.5,
        note="a value that is no whole number does not compile",
        defect="fractional_padding",
    ),
    Operator(
        "pad",
        truth=lambda x: np.pad(x, PADDED),
        torch=lambda x: F.pad(x, (1, 2, 2, 1)),
        jittor=lambda jt, x: jt.nn.pad(x, (1, 2, 2, 1)),
        inputs=IMAGE,
        twin="backbones/hgnetv2.py",
    ),
    Operator(
        "pad, reflect",
        truth=lambda x: np.pad(x, PADDED, mode="reflect"),
        torch=lambda x: F.pad(x, (1, 2, 2, 1), mode="reflect"),
        jittor=lambda jt, x: jt.nn.pad(x, (1, 2, 2, 1), mode="reflect"),
        inputs=IMAGE,
    ),
    Operator(
        "pad, replicate",
        truth=lambda x: np.pad(x, PADDED, mode="edge"),
        torch=lambda x: F.pad(x, (1, 2, 2, 1), mode="replicate"),
        jittor=lambda jt, x: jt.nn.pad(x, (1, 2, 2, 1), mode="replicate"),
        inputs=IMAGE,
    ),
    Operator(
        "pad, circular",
        truth=lambda x: np.pad(x, PADDED, mode="wrap"),
        torch=lambda x: F.pad(x, (1, 2, 2, 1), mode="circular"),
        jittor=lambda jt, x: jt.nn.pad(x, (1, 2, 2, 1), mode="circular"),
        inputs=IMAGE,
    ),
    Operator(
        "pad by negative numbers",
        truth=lambda x: x[..., 1:, :-1],
        torch=lambda x: F.pad(x, (0, -1, -1, 0)),
        jittor=lambda jt, x: jt.nn.pad(x, (0, -1, -1, 0)),
        inputs=IMAGE,
        instead=lambda jt, x: x[..., 1:, :-1],
        note="generates a kernel that does not compile",
        defect="negative_padding",
    ),
    Operator(
        "triu",
        truth=lambda x: np.triu(x, 1),
        torch=lambda x: x.triu(1),
        jittor=lambda jt, x: x.triu(1),
        inputs={"ordinary": (ORDINARY,)},
    ),
    Operator(
        "tril",
        truth=lambda x: np.tril(x, -1),
        torch=lambda x: x.tril(-1),
        jittor=lambda jt, x: x.tril(-1),
        inputs={"ordinary": (ORDINARY,)},
    ),
    Operator(
        "diag",
        truth=lambda x: np.diag(x[0]),
        torch=lambda x: torch.diag(x[0]),
        jittor=lambda jt, x: jt.diag(x[0]),
        inputs={"ordinary": (ORDINARY,)},
    ),
    Operator(
        "unfold",
        truth=lambda x: patches(x, (2, 3)),
        torch=lambda x: F.unfold(x, (2, 3)),
        jittor=lambda jt, x: jt.nn.unfold(x, (2, 3)),
        inputs=IMAGE,
    ),
    Operator(
        "meshgrid",
        truth=lambda x: tuple(np.meshgrid(x[0], x[1, :3], indexing="ij")),
        torch=lambda x: torch.meshgrid(x[0], x[1, :3], indexing="ij"),
        jittor=lambda jt, x: jt.meshgrid(x[0], x[1, :3], indexing="ij"),
        inputs={"ordinary": (ORDINARY,)},
        instead=lambda jt, x: jt.meshgrid(x[0], x[1, :3]),
    ),
    Operator(
        "arange",
        truth=lambda: (np.arange(2, 11, 3), np.arange(5)),
        torch=lambda: (torch.arange(2, 11, 3), torch.arange(5)),
        jittor=lambda jt: (jt.arange(2, 11, 3), jt.arange(5)),
        inputs=NOTHING,
        twin="encoder.py",
    ),
    Operator(
        "arange of floats",
        truth=lambda: np.arange(0.5, 3, 0.5, np.float32),
        torch=lambda: torch.arange(0.5, 3, 0.5),
        jittor=lambda jt: jt.arange(0.5, 3, 0.5),
        inputs=NOTHING,
    ),
    Operator(
        "linspace",
        truth=lambda: np.linspace(-1, 1, 7, dtype=np.float32),
        torch=lambda: torch.linspace(-1, 1, 7),
        jittor=lambda jt: jt.linspace(-1, 1, 7),
        inputs=NOTHING,
    ),
    Operator(
        "eye",
        truth=lambda: np.eye(3, 4, dtype=np.float32),
        torch=lambda: torch.eye(3, 4),
        jittor=lambda jt: jt.init.eye((3, 4)),
        inputs=NOTHING,
    ),
    Operator(
        "zeros, ones, full, like",
        truth=lambda x: (np.zeros_like(x), np.ones_like(x), np.full_like(x, 0.5)),
        torch=lambda x: (torch.zeros_like(x), torch.ones_like(x), torch.full_like(x, 0.5)),
        jittor=lambda jt, x: (jt.zeros_like(x), jt.ones_like(x), jt.full_like(x, 0.5)),
        inputs=ONE,
        twin="criterion.py",
    ),
    Operator(
        "shape of a scalar",
        truth=lambda x: np.asarray(x.sum().ndim),
        torch=lambda x: x.sum().ndim,
        jittor=lambda jt, x: x.sum().ndim,
        inputs={"ordinary": (ORDINARY,)},
        instead=lambda jt, x: x.sum().numpy().reshape(()).ndim,
        gradient=False,
        twin="exchange.py",
        note="Jittor has no scalars: the sum of everything has shape [1]",
    ),
]
