"""What stops, keeps or starts gradients, and modules that a model is made of."""

import numpy as np
import torch
import torch.nn.functional as F

from parity_tests.operators.inputs import ORDINARY, drawn
from parity_tests.operators.operator import Operator

ONE = {"ordinary": (ORDINARY,)}
TABLE = {"ordinary": (drawn(5, 6),)}
ENTRIES = np.asarray([1, 4, 0, 4])
DEPENDS = {"ordinary": (drawn(4, 6, seed=5),)}


def torch_padding(x):
    """Rows of an embedding whose last row is padding."""
    return F.embedding(torch.from_numpy(ENTRIES), x, padding_idx=4)


def jittor_padding(jt, x):
    """Rows of an embedding whose last row is padding."""
    embedding = jt.nn.Embedding(5, 6, padding_idx=4)
    embedding.weight = x
    return embedding(jt.array(ENTRIES))


def jittor_padding_instead(jt, x):
    """The row of padding without gradient."""
    return jt.concat([x[:4], x[4:].detach()])[jt.array(ENTRIES)]


def torch_stopped(x):
    """A part of the graph is detached; the rest keeps its gradient."""
    y = x * 3
    return y * y.detach()


def jittor_stopped(jt, x):
    """The call that looks like ``detach``."""
    y = x * 3
    return y * y.stop_grad()


def jittor_detached(jt, x):
    """``detach`` makes a new variable."""
    y = x * 3
    return y * y.detach()


def torch_no_grad(x):
    """A part computed without a graph."""
    with torch.no_grad():
        y = x * 3
    return x * y


def jittor_no_grad(jt, x):
    """A part computed without a graph."""
    with jt.no_grad():
        y = x * 3
    return x * y


def torch_scaled_loss(x):
    """A gradient that starts from a loss, not from an array."""
    (gradient,) = torch.autograd.grad(1.0 * ((x * x).sum() * (1 / 160)), x)
    return gradient


def jittor_scaled_loss(jt, x):
    """A gradient that starts from a loss, the factor in the loss's dtype."""
    factor = jt.array(np.asarray([1 / 160], str(x.dtype)))
    return jt.grad(1.0 * ((x * x).sum() * factor), x)


def twin_scaled_loss(jt, x):
    """The twin's start of a gradient."""
    from frameworks.jittor_rtdetr import operators

    factor = jt.array(np.asarray([1 / 160], str(x.dtype)))
    return jt.grad(operators.own_dtype_gradient(1.0 * ((x * x).sum() * factor)), x)


def rows_without_padding(x, c):
    """Gradient of the rows, none for the last."""
    gradient = np.zeros(x.shape)
    np.add.at(gradient, ENTRIES, c)
    gradient[4] = 0
    return [gradient]


OPERATORS = [
    Operator(
        "detach",
        truth=lambda x: 9 * x * x,
        torch=torch_stopped,
        jittor=jittor_detached,
        inputs=ONE,
        gradient=lambda x, c: [9 * x * c],
        twin="decoder.py",
    ),
    Operator(
        "stop_grad",
        truth=lambda x: 9 * x * x,
        torch=torch_stopped,
        jittor=jittor_stopped,
        inputs=ONE,
        instead=jittor_detached,
        gradient=lambda x, c: [9 * x * c],
        twin="decoder.py",
        note="works in place: every use of the variable loses its gradient",
        defect="stop_grad_in_place",
    ),
    Operator(
        "no_grad",
        truth=lambda x: 3 * x * x,
        torch=torch_no_grad,
        jittor=jittor_no_grad,
        inputs=ONE,
        gradient=lambda x, c: [3 * x * c],
        twin="training.py",
    ),
    Operator(
        "gradient of a scaled loss",
        truth=lambda x: 2 * x / 160,
        torch=torch_scaled_loss,
        jittor=jittor_scaled_loss,
        inputs=DEPENDS,
        instead=twin_scaled_loss,
        gradient=False,
        twin="operators.py",
        note="`jt.grad` starts from the plain number 1, and numbers are float32",
        defect="gradient_starts_in_float32",
    ),
    Operator(
        "Embedding with padding_idx",
        truth=lambda x: x[ENTRIES],
        torch=torch_padding,
        jittor=jittor_padding,
        inputs=TABLE,
        instead=jittor_padding_instead,
        gradient=rows_without_padding,
        twin="decoder.py",
        note="the row of padding gets a gradient",
        defect="padding_row_gradient",
    ),
    Operator(
        "dropout, default",
        truth=lambda x: np.asarray([True]),
        torch=lambda x: (F.dropout(x, 0.5) == 0).any(),
        jittor=lambda jt, x: (jt.nn.dropout(x, 0.5) == 0).any(),
        inputs=ONE,
        instead=lambda jt, x: (jt.nn.dropout(x, 0.5, is_train=True) == 0).any(),
        gradient=False,
        note="the function drops nothing unless `is_train=True` is given",
    ),
    Operator(
        "copy by an index",
        truth=lambda x: x[0] * 2,
        torch=lambda x: x[0] + x[0],
        jittor=lambda jt, x: x[0] + x[0],
        inputs=ONE,
    ),
]
