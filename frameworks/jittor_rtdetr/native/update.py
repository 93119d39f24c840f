"""Clipping, AdamW and the moving average of one tensor: ``update.h``. Arrays keep their shapes.

All of them see a tensor as one row: an operation of Jittor is compiled for each number of axes.
"""

import jittor as jt
import numpy as np
from jittor import Var

from frameworks.jittor_rtdetr.native.kernel import run


def _row(x: Var) -> Var:
    return x.reshape((-1,))


def sum_of_squares(tensors: list[Var]) -> Var:
    """Sum over all elements of all tensors, [1] in their dtype; added in float64."""
    total = jt.array(np.zeros(1))
    for x in tensors:
        call = "out0_p[0] = native::add_squares(in1_p[0], in0_p, in0->num);"
        (total,) = run("update", call, [_row(x), total], [((1,), "float64")])
    return total.cast(tensors[0].dtype)


def scaled(x: Var, factor: Var) -> Var:
    """x times ``factor`` [1]."""
    call = "native::scale(in0_p, in1_p[0], out0_p, in0->num);"
    return run("update", call, [_row(x), factor], [((x.numel(),), x.dtype)])[0].reshape(x.shape)


def weighted_mean(x: Var, y: Var, share: float) -> Var:
    """share * x + (1 - share) * y."""
    call = 'native::average<in0_type>(data["share"], in0_p, data["rest"], in1_p, out0_p, in0->num);'
    inputs, outputs = [_row(x), _row(y)], [((x.numel(),), x.dtype)]
    return run("update", call, inputs, outputs, share=share, rest=1 - share)[0].reshape(x.shape)


def adamw(parameter: Var, moment1: Var, moment2: Var, gradient: Var, numbers: dict[str, float]) -> list[Var]:
    """New parameter and moments; ``numbers`` are those of ``operators.adamw``."""
    names = ("beta1", "rest1", "beta2", "rest2", "root_correction", "eps", "kept", "rate")
    fields = ", ".join(f'in0_type(data["{name}"])' for name in names)
    call = (
        f"native::AdamW<in0_type>{{{fields}}}.update(in0_p, in1_p, in2_p, in3_p, out0_p, out1_p, out2_p, in0->num);"
    )
    inputs = [_row(x) for x in (parameter, moment1, moment2, gradient)]
    new = run("update", call, inputs, [((parameter.numel(),), parameter.dtype)] * 3, **numbers)
    return [x.reshape(parameter.shape) for x in new]
