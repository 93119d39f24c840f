"""Elementwise operators: activations, exponentials, rounding, minima and maxima of two."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy import special

from parity_tests.operators.inputs import ANY, BOUNDS, NONE, ORDINARY, POSITIVE, SPECIAL, WIDE
from parity_tests.operators.operator import Operator

ABOVE_ZERO = {
    "ordinary": (POSITIVE,),
    "zeros and bounds": (BOUNDS,),
    "NaN and infinity": (SPECIAL,),
    "empty": (NONE,),
}


def sigmoid(x):
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def softplus(x):
    """log(1 + exp(x)) without overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def erf(x):
    """SciPy's, in float64."""
    return special.erf(np.asarray(x, np.float64))


def twin_gelu(jt, x):
    """The twin's GELU."""
    from frameworks.jittor_rtdetr import operators

    return operators.exact_gelu(x)


def twin_inverse_sigmoid(jt, x):
    """The twin's."""
    from frameworks.jittor_rtdetr.box_ops import inverse_sigmoid

    return inverse_sigmoid(x)


OPERATORS = [
    Operator(
        "relu",
        truth=lambda x: np.maximum(x, 0),
        torch=lambda x: F.relu(x),
        jittor=lambda jt, x: jt.nn.relu(x),
        inputs=ANY,
        twin="operators.py",
        note="NaN becomes 0",
        defect="nan_is_swallowed",
    ),
    Operator(
        "gelu",
        truth=lambda x: x * 0.5 * (1 + erf(x / np.sqrt(2))),
        torch=lambda x: F.gelu(x),
        jittor=lambda jt, x: jt.nn.gelu(x),
        inputs=WIDE,
        instead=twin_gelu,
        twin="operators.py",
        note="its constants and the gradient of erf are float32 numbers",
        defect="erf_gradient",
    ),
    Operator(
        "silu",
        truth=lambda x: x * sigmoid(x),
        torch=lambda x: F.silu(x),
        jittor=lambda jt, x: jt.nn.silu(x),
        inputs=WIDE,
        twin="operators.py",
        note="at minus infinity -inf in place of NaN",
    ),
    Operator(
        "abs",
        truth=lambda x: np.abs(x),
        torch=lambda x: torch.abs(x),
        jittor=lambda jt, x: jt.abs(x),
        inputs=ANY,
        twin="criterion.py",
        note="the gradient at 0 is 1, PyTorch's is 0",
    ),
    Operator(
        "tanh",
        truth=lambda x: np.tanh(x),
        torch=lambda x: torch.tanh(x),
        jittor=lambda jt, x: jt.tanh(x),
        inputs=WIDE,
    ),
    Operator(
        "sigmoid",
        truth=lambda x: sigmoid(x),
        torch=lambda x: torch.sigmoid(x),
        jittor=lambda jt, x: jt.sigmoid(x),
        inputs=WIDE,
        twin="operators.py",
    ),
    Operator(
        "gelu, tanh form",
        truth=lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.longdouble(np.pi)) * (x + 0.044715 * x**3))),
        torch=lambda x: F.gelu(x, approximate="tanh"),
        jittor=lambda jt, x: jt.nn.gelu(x, approximate="tanh"),
        inputs={"ordinary": (ORDINARY,)},
    ),
    Operator(
        "relu6",
        truth=lambda x: np.clip(x, 0, 6),
        torch=lambda x: F.relu6(x),
        jittor=lambda jt, x: jt.nn.relu6(x),
        inputs=WIDE,
    ),
    Operator(
        "leaky_relu",
        truth=lambda x: np.where(x > 0, x, x * np.longdouble("0.01")),
        torch=lambda x: F.leaky_relu(x),
        jittor=lambda jt, x: jt.nn.leaky_relu(x),
        inputs=WIDE,
        note="its slope is a float32 number",
    ),
    Operator(
        "elu",
        truth=lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        torch=lambda x: F.elu(x),
        jittor=lambda jt, x: jt.nn.elu(x),
        inputs=WIDE,
        instead=lambda jt, x: jt.ternary(x > 0, x, jt.exp(jt.minimum(jt.zeros_like(x), x)) - 1),
        note="the gradient is NaN where exp overflows",
        defect="elu_gradient",
    ),
    Operator(
        "mish",
        truth=lambda x: x * np.tanh(softplus(x)),
        torch=lambda x: F.mish(x),
        jittor=lambda jt, x: jt.nn.mish(x),
        inputs=WIDE,
    ),
    Operator(
        "hardtanh",
        truth=lambda x: np.clip(x, -1, 1),
        torch=lambda x: F.hardtanh(x),
        jittor=lambda jt, x: jt.nn.hardtanh(x),
        inputs=ANY,
    ),
    Operator(
        "hardsigmoid",
        truth=lambda x: np.clip(x + 3, 0, 6) / 6,
        torch=lambda x: F.hardsigmoid(x),
        jittor=lambda jt, x: jt.nn.hardsigmoid(x),
        inputs={"ordinary": (ORDINARY,)},
        instead=lambda jt, x: jt.nn.relu6(x + 3) / 6,
    ),
    Operator(
        "hardswish",
        truth=lambda x: x * np.clip(x + 3, 0, 6) / 6,
        torch=lambda x: F.hardswish(x),
        jittor=lambda jt, x: jt.nn.hardswish(x),
        inputs={"ordinary": (ORDINARY,)},
        instead=lambda jt, x: x * jt.nn.relu6(x + 3) / 6,
    ),
    Operator(
        "softplus",
        truth=lambda x: softplus(x),
        torch=lambda x: F.softplus(x),
        jittor=lambda jt, x: jt.nn.softplus(x),
        inputs=WIDE,
        instead=lambda jt, x: jt.maximum(jt.zeros_like(x), x) + jt.log(1 + jt.exp(-jt.abs(x))),
        note="the gradient is 0 at exactly 20; from there on the value is x, which float64 can tell from the truth",
        defect="softplus_gradient",
    ),
    Operator(
        "log_sigmoid",
        truth=lambda x: -softplus(-x),
        torch=lambda x: F.logsigmoid(x),
        jittor=lambda jt, x: jt.nn.log_sigmoid(x),
        inputs=WIDE,
        instead=lambda jt, x: jt.minimum(x, 0) - jt.log(1 + jt.exp(-jt.abs(x))),
        note="log(sigmoid(x)), bounded at -30 in float32 and -300 in float64",
        defect="log_sigmoid_overflow",
    ),
    Operator(
        "inverse sigmoid",
        truth=lambda x: np.log(np.maximum(np.clip(x, 0, 1), 1e-5) / np.maximum(1 - np.clip(x, 0, 1), 1e-5)),
        torch=lambda x: torch.log(x.clamp(0, 1).clamp(min=1e-5) / (1 - x.clamp(0, 1)).clamp(min=1e-5)),
        jittor=lambda jt, x: jt.log(jt.clamp(jt.clamp(x, 0, 1), 1e-5) / jt.clamp(1 - jt.clamp(x, 0, 1), 1e-5)),
        inputs={"ordinary": (POSITIVE / 4,), "zeros and bounds": (BOUNDS,), "empty": (NONE,)},
        instead=twin_inverse_sigmoid,
        twin="box_ops.py",
        note="at exactly 0 and 1 by the ties of `clamp`",
    ),
]
