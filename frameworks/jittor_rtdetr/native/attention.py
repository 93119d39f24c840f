"""Softmax and scaled dot-product attention: ``attention.h`` and its gradients."""

import jittor as jt
import numpy as np
from jittor import Var

from frameworks.jittor_rtdetr.native.kernel import run


class Softmax(jt.Function):
    """Softmax of every row."""

    def execute(self, x: Var) -> Var:
        """[N, K] -> [N, K]."""
        call = "native::softmax(in0_p, out0_p, in0_shape0, in0_shape1);"
        (self.y,) = run("attention", call, [x], [(x.shape, x.dtype)])
        return self.y

    def grad(self, grad: Var) -> Var:
        """Gradient of x."""
        call = "native::softmax_gradients(in0_p, in1_p, out0_p, in0_shape0, in0_shape1);"
        y, self.y = self.y, None
        return run("attention", call, [y, grad], [(y.shape, y.dtype)])[0]


# Inputs 0 to 3 are queries [B, Q, D], keys and values [B, S, D], and the mask.
_ATTENTION = """native::Attention<in0_type> attention{
    in0_p, in1_p, in2_p, data["masked"] ? in3_p : nullptr,
    in0_shape0, int64_t(data["heads"]), in0_shape1, in1_shape1, in0_shape2};
"""


class Attention(jt.Function):
    """Scaled dot-product attention of every head; keeps no scores, but two numbers for each row of them."""

    def execute(self, query_BQD: Var, key_BSD: Var, value_BSD: Var, blocked_QS: Var | None, heads: int) -> Var:
        """Queries, keys, values -> [B, Q, D]."""
        batch, queries, _ = query_BQD.shape
        mask = jt.array(np.zeros((1, 1), bool)) if blocked_QS is None else blocked_QS
        self.inputs = [query_BQD, key_BSD, value_BSD, mask]
        self.numbers = {"heads": heads, "masked": blocked_QS is not None}
        row = ((batch, heads, queries), query_BQD.dtype)
        call = _ATTENTION + "attention.forward(out0_p, out1_p, out2_p);"
        outputs = [(query_BQD.shape, query_BQD.dtype), row, row]
        mixed_BQD, *self.rows = run("attention", call, self.inputs, outputs, **self.numbers)
        return mixed_BQD

    def grad(self, grad_BQD: Var) -> tuple[Var | None, ...]:
        """Gradients of queries, keys and values."""
        call = _ATTENTION + "attention.backward(in4_p, in5_p, in6_p, out0_p, out1_p, out2_p);"
        inputs, outputs = [*self.inputs, *self.rows, grad_BQD], [(x.shape, x.dtype) for x in self.inputs[:3]]
        self.inputs = self.rows = []  # free them as soon as the gradient is computed
        return *run("attention", call, inputs, outputs, **self.numbers), None, None
