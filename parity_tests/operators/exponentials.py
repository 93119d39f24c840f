"""Exponentials, logarithms, powers, roots and trigonometry."""

import numpy as np
import torch
from scipy import special

from parity_tests.operators.elementwise import ABOVE_ZERO, erf
from parity_tests.operators.inputs import ANY, BOUNDS, NONE, PAIRS, POSITIVE, WIDE, drawn, uniform
from parity_tests.operators.operator import Operator

INSIDE = {"ordinary": (uniform(4, 6, low=-0.9, high=0.9),), "zeros and bounds": (BOUNDS,), "empty": (NONE,)}
FLOAT32_NUMBER = "a Python number in the formula is a float32 number, in float64 too"


def erfinv(x):
    """SciPy's, in float64."""
    return special.erfinv(np.asarray(x, np.float64))


OPERATORS = [
    Operator(
        "exp",
        truth=lambda x: np.exp(x),
        torch=lambda x: torch.exp(x),
        jittor=lambda jt, x: jt.exp(x),
        inputs=WIDE,
        twin="operators.py",
    ),
    Operator(
        "expm1",
        truth=lambda x: np.expm1(x),
        torch=lambda x: torch.expm1(x),
        jittor=lambda jt, x: jt.expm1(x),
        inputs=WIDE | {"tiny": (drawn(4, 6, scale=1e-6),)},
        instead=lambda jt, x: jt.tanh(x / 2) * (jt.exp(x) + 1),
        note="computed as exp(x) - 1, which cancels",
        defect="expm1_cancels",
    ),
    Operator(
        "log",
        truth=lambda x: np.log(x),
        torch=lambda x: torch.log(x),
        jittor=lambda jt, x: jt.log(x),
        inputs=ABOVE_ZERO,
        twin="box_ops.py",
    ),
    Operator(
        "log1p",
        truth=lambda x: np.log1p(x),
        torch=lambda x: torch.log1p(x),
        jittor=lambda jt, x: jt.log1p(x),
        inputs=ABOVE_ZERO,
        instead=lambda jt, x: jt.log(1 + x),
    ),
    Operator(
        "log2",
        truth=lambda x: np.log2(x),
        torch=lambda x: torch.log2(x),
        jittor=lambda jt, x: jt.log2(x),
        inputs=ABOVE_ZERO,
        instead=lambda jt, x: jt.log(x) / jt.array(np.log(np.asarray([2], str(x.dtype)))),
        note=FLOAT32_NUMBER,
    ),
    Operator(
        "log10",
        truth=lambda x: np.log10(x),
        torch=lambda x: torch.log10(x),
        jittor=lambda jt, x: jt.log10(x),
        inputs=ABOVE_ZERO,
        instead=lambda jt, x: jt.log(x) / jt.array(np.log(np.asarray([10], str(x.dtype)))),
    ),
    Operator(
        "sqrt",
        truth=lambda x: np.sqrt(x),
        torch=lambda x: torch.sqrt(x),
        jittor=lambda jt, x: jt.sqrt(x),
        inputs=ABOVE_ZERO,
        twin="operators.py",
    ),
    Operator(
        "rsqrt",
        truth=lambda x: 1 / np.sqrt(x),
        torch=lambda x: torch.rsqrt(x),
        jittor=lambda jt, x: jt.rsqrt(x),
        inputs=ABOVE_ZERO,
    ),
    Operator(
        "reciprocal",
        truth=lambda x: 1 / x,
        torch=lambda x: 1 / x,
        jittor=lambda jt, x: 1 / x,
        inputs=ANY,
        twin="operators.py",
    ),
    Operator(
        "square",
        truth=lambda x: x**2,
        torch=lambda x: x**2,
        jittor=lambda jt, x: x**2,
        inputs=ANY,
        twin="operators.py",
    ),
    Operator(
        "cube",
        truth=lambda x: x**3,
        torch=lambda x: x**3,
        jittor=lambda jt, x: x**3,
        inputs=ANY,
    ),
    Operator(
        "pow 0.3",
        truth=lambda x: x**0.3,
        torch=lambda x: torch.pow(x, 0.3),
        jittor=lambda jt, x: jt.pow(x, 0.3),
        inputs={"ordinary": (POSITIVE,), "empty": (NONE,)},
        instead=lambda jt, x: jt.pow(x, jt.array(np.asarray([0.3], str(x.dtype)))),
        twin="criterion.py",
        note=FLOAT32_NUMBER,
    ),
    Operator(
        "pow 1.5",
        truth=lambda x: x**1.5,
        torch=lambda x: torch.pow(x, 1.5),
        jittor=lambda jt, x: jt.pow(x, 1.5),
        inputs=ABOVE_ZERO,
        twin="criterion.py",
    ),
    Operator(
        "pow with a tensor",
        truth=lambda x, y: x**y,
        torch=lambda x, y: torch.pow(x, y),
        jittor=lambda jt, x, y: jt.pow(x, y),
        inputs={"ordinary": (POSITIVE, drawn(4, 6, seed=1)), "empty": (NONE, NONE)},
    ),
    Operator(
        "sin",
        truth=lambda x: np.sin(x),
        torch=lambda x: torch.sin(x),
        jittor=lambda jt, x: jt.sin(x),
        inputs=WIDE,
    ),
    Operator(
        "cos",
        truth=lambda x: np.cos(x),
        torch=lambda x: torch.cos(x),
        jittor=lambda jt, x: jt.cos(x),
        inputs=WIDE,
    ),
    Operator(
        "tan",
        truth=lambda x: np.tan(x),
        torch=lambda x: torch.tan(x),
        jittor=lambda jt, x: jt.tan(x),
        inputs={"ordinary": INSIDE["ordinary"], "empty": (NONE,)},
    ),
    Operator(
        "asin",
        truth=lambda x: np.arcsin(x),
        torch=lambda x: torch.asin(x),
        jittor=lambda jt, x: jt.asin(x),
        inputs=INSIDE,
    ),
    Operator(
        "acos",
        truth=lambda x: np.arccos(x),
        torch=lambda x: torch.acos(x),
        jittor=lambda jt, x: jt.acos(x),
        inputs=INSIDE,
    ),
    Operator(
        "atan",
        truth=lambda x: np.arctan(x),
        torch=lambda x: torch.atan(x),
        jittor=lambda jt, x: jt.atan(x),
        inputs=WIDE,
    ),
    Operator(
        "atan2",
        truth=lambda x, y: np.arctan2(x, y),
        torch=lambda x, y: torch.atan2(x, y),
        jittor=lambda jt, x, y: jt.atan2(x, y),
        inputs=PAIRS,
        note="pi is a float32 number",
    ),
    Operator(
        "sinh",
        truth=lambda x: np.sinh(x),
        torch=lambda x: torch.sinh(x),
        jittor=lambda jt, x: jt.sinh(x),
        inputs=WIDE,
    ),
    Operator(
        "cosh",
        truth=lambda x: np.cosh(x),
        torch=lambda x: torch.cosh(x),
        jittor=lambda jt, x: jt.cosh(x),
        inputs=WIDE,
    ),
    Operator(
        "asinh",
        truth=lambda x: np.arcsinh(x),
        torch=lambda x: torch.asinh(x),
        jittor=lambda jt, x: jt.asinh(x),
        inputs=WIDE,
    ),
    Operator(
        "atanh",
        truth=lambda x: np.arctanh(x),
        torch=lambda x: torch.atanh(x),
        jittor=lambda jt, x: jt.atanh(x),
        inputs=INSIDE,
    ),
    Operator(
        "erf",
        truth=lambda x: erf(x),
        torch=lambda x: torch.erf(x),
        jittor=lambda jt, x: jt.erf(x),
        inputs=WIDE,
        twin="operators.py",
        note="the gradient has a float32 number; the twin writes the gradient of GELU itself",
        defect="erf_gradient",
    ),
    Operator(
        "erfinv",
        truth=lambda x: erfinv(x),
        torch=lambda x: torch.erfinv(x),
        jittor=lambda jt, x: jt.erfinv(x),
        note="its gradient has a float32 number",
        inputs={"ordinary": INSIDE["ordinary"], "empty": (NONE,)},
    ),
    Operator(
        "hypot",
        truth=lambda x, y: np.hypot(x, y),
        torch=lambda x, y: torch.hypot(x, y),
        jittor=lambda jt, x, y: jt.hypot(x, y),
        inputs={"ordinary": PAIRS["ordinary"], "empty": PAIRS["empty"]},
    ),
]
