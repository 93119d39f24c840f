"""Sorting, the largest, and counting."""

import numpy as np
import torch

from parity_tests.operators.indexing import ONE, WHOLE
from parity_tests.operators.inputs import ORDINARY, SPECIAL, drawn, table
from parity_tests.operators.operator import Operator

DISTINCT = {"ordinary": (ORDINARY,), "more": (drawn(2, 3000, seed=3),)}
TIES = {"ties": (table(1, 3, 3, 0, 3, 1, -2, -2, 3, 1, -2, 1),), "many ties": (np.zeros((2, 3000)),)}

OPERATORS = [
    Operator(
        "unique",
        truth=lambda i: np.unique(i),
        torch=lambda i: torch.unique(i),
        jittor=lambda jt, i: jt.unique(i),
        inputs=WHOLE,
    ),
    Operator(
        "bincount",
        truth=lambda i: np.bincount(i),
        torch=lambda i: torch.bincount(i),
        jittor=lambda jt, i: jt.bincount(i),
        inputs=WHOLE,
        instead=lambda jt, i: jt.nn.one_hot(i).sum(0),
    ),
    Operator(
        "searchsorted",
        truth=lambda x: np.searchsorted(np.sort(x[0]), x[1]),
        torch=lambda x: torch.searchsorted(x[0].sort().values, x[1]),
        jittor=lambda jt, x: jt.searchsorted(x[0].sort()[0], x[1]),
        inputs=ONE,
        gradient=False,
    ),
    Operator(
        "topk",
        truth=lambda x: (-np.sort(-x)[:, :3], np.argsort(-x, kind="stable")[:, :3]),
        torch=lambda x: tuple(x.topk(3, -1)),
        jittor=lambda jt, x: jt.topk(x, 3, dim=-1),
        inputs=DISTINCT | TIES,
        untold=tuple(TIES),
        twin="decoder.py",
        note="another order of equal numbers",
    ),
    Operator(
        "topk, smallest",
        truth=lambda x: (np.sort(x)[:, :3], np.argsort(x, kind="stable")[:, :3]),
        torch=lambda x: tuple(x.topk(3, -1, largest=False)),
        jittor=lambda jt, x: jt.topk(x, 3, dim=-1, largest=False),
        inputs=DISTINCT,
    ),
    Operator(
        "topk with NaN",
        truth=lambda x: np.sort(x)[:, ::-1][:, :3],
        torch=lambda x: x.topk(3, -1).values,
        jittor=lambda jt, x: jt.topk(x, 3, dim=-1)[0],
        inputs={"NaN and infinity": (SPECIAL,)},
        gradient=False,
    ),
    Operator(
        "sort",
        truth=lambda x: (np.sort(x), np.argsort(x, kind="stable")),
        torch=lambda x: tuple(x.sort(-1)),
        jittor=lambda jt, x: jt.sort(x, -1),
        inputs=DISTINCT | TIES,
        untold=tuple(TIES),
    ),
    Operator(
        "argsort",
        truth=lambda x: np.argsort(x, kind="stable"),
        torch=lambda x: x.argsort(-1),
        jittor=lambda jt, x: jt.argsort(x, -1),
        inputs={"ordinary": (ORDINARY,)},
        instead=lambda jt, x: jt.argsort(x, -1)[0],
        gradient=False,
        note="returns indices and values",
    ),
    Operator(
        "argsort, descending",
        truth=lambda x: np.argsort(-x, kind="stable"),
        torch=lambda x: x.argsort(-1, descending=True),
        jittor=lambda jt, x: jt.argsort(x, -1, descending=True)[0],
        inputs={"ordinary": (ORDINARY,)},
        gradient=False,
    ),
]
