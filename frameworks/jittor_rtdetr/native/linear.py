"""Linear layer with its bias and ReLU: ``linear.h`` and its gradients."""

import jittor as jt
from jittor import Var

from frameworks.jittor_rtdetr.native.kernel import run

_LAYER = 'native::Linear layer{in0_shape0, in0_shape1, in1_shape0, data["relu"] != 0};\n'


class Linear(jt.Function):
    """x weight^T + bias, then ReLU if wanted; keeps input and output."""

    def execute(self, x_NI: Var, weight_OI: Var, bias_O: Var, relu: bool) -> Var:
        """[N, I] -> [N, O]."""
        outputs, self.relu = [((x_NI.shape[0], weight_OI.shape[0]), x_NI.dtype)], relu
        call = _LAYER + "layer.forward(in0_p, in1_p, in2_p, out0_p);"
        (y_NO,) = run("linear", call, [x_NI, weight_OI, bias_O], outputs, relu=relu)
        self.saved, self.bias = [x_NI, weight_OI, y_NO if relu else x_NI], (bias_O.shape, bias_O.dtype)
        return y_NO

    def grad(self, grad_NO: Var) -> tuple[Var | None, ...]:
        """Gradients of input, weight and bias."""
        saved, self.saved = self.saved, []
        call = _LAYER + "layer.backward(in0_p, in1_p, in2_p, in3_p, out0_p, out1_p, out2_p);"
        outputs = [*((x.shape, x.dtype) for x in saved[:2]), self.bias]
        return *run("linear", call, [*saved, grad_NO], outputs, relu=self.relu), None
