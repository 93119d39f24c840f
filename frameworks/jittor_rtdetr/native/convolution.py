"""Convolution by matrix products: ``convolution.h`` and its gradients."""

import jittor as jt
from jittor import Var

from frameworks.jittor_rtdetr.native.kernel import run

_LAYER = """native::Convolution layer{
    in0_shape0, in0_shape1, in0_shape2, in0_shape3, in1_shape0, in1_shape2, in1_shape3, int64_t(data["groups"]),
    int64_t(data["stride"]), int64_t(data["padding"]), int64_t(data["out_h"]), int64_t(data["out_w"])};
"""


class Convolution(jt.Function):
    """Convolution without bias; the same stride and padding in both directions."""

    def execute(self, x_BCHW: Var, weight_OIHW: Var, stride: int, padding: int, groups: int) -> Var:
        """[B, C, H, W], [O, C / groups, KH, KW] -> [B, O, H', W']."""
        batch, _, *size_hw = x_BCHW.shape
        filters, _, *kernel_hw = weight_OIHW.shape
        out_hw = [(s + 2 * padding - k) // stride + 1 for s, k in zip(size_hw, kernel_hw, strict=True)]
        self.numbers = {"groups": groups, "stride": stride, "padding": padding}
        self.numbers |= dict(zip(("out_h", "out_w"), out_hw, strict=True))
        self.saved = [x_BCHW, weight_OIHW]
        call, shape = _LAYER + "layer.forward(in0_p, in1_p, out0_p);", (batch, filters, *out_hw)
        return run("convolution", call, self.saved, [(shape, x_BCHW.dtype)], **self.numbers)[0]

    def grad(self, grad_BOHW: Var) -> tuple[Var | None, ...]:
        """Gradients of input and weight."""
        saved, self.saved = self.saved, []
        call = _LAYER + "layer.backward(in0_p, in1_p, in2_p, out0_p, out1_p);"
        outputs = [(v.shape, v.dtype) for v in saved]
        return *run("convolution", call, [*saved, grad_BOHW], outputs, **self.numbers), None, None, None
