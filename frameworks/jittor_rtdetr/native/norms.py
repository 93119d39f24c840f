"""Batch norm with its activation, and layer norm: ``norms.h`` and their gradients."""

import jittor as jt
from jittor import Var

from frameworks.jittor_rtdetr.native.kernel import Output, run

ACTIVATIONS = (None, "relu", "silu", "gelu")  # in the order of the enumeration in common.h


def _like(*variables: Var) -> list[Output]:
    return [(v.shape, v.dtype) for v in variables]


def _of_maps(function: str, arguments: str) -> str:
    """C++ call for maps [B, C, H, W] with an activation."""
    maps = "native::Maps{in0_shape0, in0_shape1, in0_shape2 * in0_shape3}"
    return (
        'native::with_activation(int(data["act"]), [&](auto act) '
        f"{{ native::{function}<decltype(act)::value>({maps}, {arguments}); }});"
    )


class BatchNorm(jt.Function):
    """Normalises over batch, height and width, then applies the activation; keeps the input, mean and deviation."""

    def execute(self, x_BCHW: Var, weight_C: Var, bias_C: Var, eps: float, act: str | None) -> tuple[Var, Var, Var]:
        """Result [B, C, H, W], batch mean [C] and biased variance [C]."""
        self.act = ACTIVATIONS.index(act)
        call = _of_maps("batch_norm", 'in0_p, in1_p, in2_p, data["eps"], out0_p, out1_p, out2_p, out3_p')
        inputs, outputs = [x_BCHW, weight_C, bias_C], _like(x_BCHW, weight_C, weight_C, weight_C)
        y_BCHW, mean_C, var_C, inverse_C = run("norms", call, inputs, outputs, eps=eps, act=self.act)
        self.saved = [*inputs, mean_C, inverse_C]
        return y_BCHW, mean_C, var_C

    def grad(self, grad_BCHW: Var, grad_mean_C: Var | None, grad_var_C: Var | None) -> tuple[Var | None, ...]:
        """Gradients of input, weight and bias; none flows through mean and variance."""
        saved, self.saved = self.saved, []
        arguments = "in0_p, in1_p, in2_p, in3_p, in4_p, in5_p, out0_p, out1_p, out2_p"
        call = _of_maps("batch_norm_gradient", arguments)
        return *run("norms", call, [*saved, grad_BCHW], _like(*saved[:3]), act=self.act), None, None


class FixedNorm(jt.Function):
    """Batch norm by constants, then the activation; a gradient for the input only."""

    def execute(self, x_BCHW: Var, constants_C: list[Var], eps: float, act: str | None) -> Var:
        """``constants_C``: weight, bias, mean and variance."""
        self.saved, self.numbers = [x_BCHW, *constants_C], {"eps": eps, "act": ACTIVATIONS.index(act)}
        call = _of_maps("fixed_norm", 'in0_p, in1_p, in2_p, in3_p, in4_p, data["eps"], out0_p')
        return run("norms", call, self.saved, _like(x_BCHW), **self.numbers)[0]

    def grad(self, grad_BCHW: Var) -> tuple[Var | None, ...]:
        """Gradient of the input."""
        saved, self.saved = self.saved, []
        call = _of_maps("fixed_norm_gradient", 'in0_p, in1_p, in2_p, in3_p, in4_p, data["eps"], in5_p, out0_p')
        return run("norms", call, [*saved, grad_BCHW], _like(saved[0]), **self.numbers)[0], None, None, None


class LayerNorm(jt.Function):
    """Normalises every row."""

    def execute(self, x_ND: Var, weight_D: Var, bias_D: Var, eps: float) -> Var:
        """[N, D] -> [N, D]."""
        call = (
            'native::layer_norm(in0_shape0, in0_shape1, in0_p, in1_p, in2_p, data["eps"], out0_p, out1_p, out2_p);'
        )
        row = ((x_ND.shape[0],), x_ND.dtype)
        y_ND, *rows_N = run("norms", call, [x_ND, weight_D, bias_D], [*_like(x_ND), row, row], eps=eps)
        self.saved = [x_ND, weight_D, *rows_N]
        return y_ND

    def grad(self, grad_ND: Var) -> tuple[Var | None, ...]:
        """Gradients of input, weight and bias."""
        saved, self.saved = self.saved, []
        call = (
            "native::layer_norm_gradient(in0_shape0, in0_shape1, in0_p, in1_p, in2_p, in3_p, in4_p, "
            "out0_p, out1_p, out2_p);"
        )
        return *run("norms", call, [*saved, grad_ND], _like(saved[0], saved[1], saved[1])), None
