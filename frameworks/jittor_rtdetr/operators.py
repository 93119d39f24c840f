"""Operators that Jittor 1.3 lacks, or has in a form that is inexact or slow; the PyTorch twin needs none of them.

The reason for each was measured; ``frameworks/tests/test_jittor_pieces.py`` compares them with closed forms.
"""

import math

import jittor as jt
import numpy as np
from jittor import Var, nn

from frameworks.jittor_rtdetr.native import attention as native_attention
from frameworks.jittor_rtdetr.native import convolution as native_convolution
from frameworks.jittor_rtdetr.native import linear as native_linear
from frameworks.jittor_rtdetr.native import norms as native_norms
from frameworks.jittor_rtdetr.native import update as native_update
from frameworks.jittor_rtdetr.native.kernel import in_use


def constant(value: float, like: Var) -> Var | float:
    """A Python number in the dtype of ``like``: Jittor rounds plain numbers to float32 in float64 graphs too."""
    if like.dtype == "float32" or float(np.float32(value)) == value:
        return value
    return jt.array(np.asarray([value], str(like.dtype))).stop_grad()


class _Softmax(jt.Function):
    """Keeps its result for the gradient; Jittor's own recomputes the exponentials in every kernel."""

    def execute(self, x: Var) -> Var:
        power = jt.exp(x - x.max(-1, keepdims=True))
        self.y = power / power.sum(-1, keepdims=True)
        return self.y

    def grad(self, grad: Var) -> Var:
        weighted = grad * self.y
        return weighted - self.y * weighted.sum(-1, keepdims=True)


def softmax(x: Var) -> Var:
    """Softmax over the last axis; same shape."""
    if in_use():
        return native_attention.Softmax.apply(x.reshape((-1, x.shape[-1]))).reshape(x.shape)
    return _Softmax.apply(x)


def convolution(layer: nn.Conv2d, x_BCHW: Var) -> Var:
    """[B, C, H, W] -> [B, C_out, H', W'].

    oneDNN has no float64, and Jittor's own kernel is a plain loop on one core: 3 to 36 times slower than products
    in C++, and compiled anew for every shape.
    """
    if x_BCHW.dtype != "float64" or not in_use():
        return nn.Conv2d.execute(layer, x_BCHW)
    stride, padding = layer.stride[0], layer.padding[0]
    y_BCHW = native_convolution.Convolution.apply(x_BCHW, layer.weight, stride, padding, layer.groups)
    return y_BCHW if layer.bias is None else y_BCHW + layer.bias.reshape(1, -1, 1, 1)


class _LoopedMatmul(jt.Function):
    """One oneDNN product per matrix of the batch."""

    def execute(self, a_NXY: Var, b_NYZ: Var) -> Var:
        self.a, self.b = a_NXY, b_NYZ
        return self._products(a_NXY, b_NYZ)

    def grad(self, grad_NXZ: Var) -> tuple[Var, Var]:
        grad_a = self._products(grad_NXZ, self.b.transpose(0, 2, 1))
        return grad_a, self._products(self.a.transpose(0, 2, 1), grad_NXZ)

    def _products(self, a_NXY: Var, b_NYZ: Var) -> Var:
        return jt.stack([jt.matmul(a_NXY[i], b_NYZ[i]) for i in range(a_NXY.shape[0])], dim=0)


def batched_matmul(a: Var, b: Var) -> Var:
    """[..., X, Y] times [..., Y, Z].

    On CPU ``jt.matmul`` of more than two axes is a plain loop in C++: measured 8.5 times slower forward and
    backward than one oneDNN product per matrix (32 of 500 x 32 x 500).
    """
    if jt.flags.use_cuda:
        return jt.matmul(a, b)
    product = _LoopedMatmul.apply(a.reshape((-1, *a.shape[-2:])), b.reshape((-1, *b.shape[-2:])))
    return product.reshape((*a.shape[:-1], b.shape[-1]))


def attention(query_BQD: Var, key_BSD: Var, value_BSD: Var, blocked_QS: Var | None, heads: int) -> Var:
    """Scaled dot-product attention of every head on its share of D, [B, Q, D]; ``blocked_QS``: True hides a key."""
    if in_use():
        return native_attention.Attention.apply(query_BQD, key_BSD, value_BSD, blocked_QS, heads)
    query_BHQd, key_BHSd, value_BHSd = (_split_heads(x, heads) for x in (query_BQD, key_BSD, value_BSD))
    scale = constant(1 / math.sqrt(query_BHQd.shape[-1]), query_BQD)
    scores_BHQS = batched_matmul(query_BHQd * scale, key_BHSd.transpose(0, 1, 3, 2))
    if blocked_QS is not None:
        mask_QS = np.where(blocked_QS.numpy(), -np.inf, 0.0).astype(str(query_BQD.dtype))
        scores_BHQS = scores_BHQS + jt.array(mask_QS).stop_grad()
    mixed_BHQd = batched_matmul(softmax(scores_BHQS), value_BHSd)
    return mixed_BHQd.transpose(0, 2, 1, 3).reshape(query_BQD.shape)


def _split_heads(x_BSD: Var, heads: int) -> Var:
    batch, length, dim = x_BSD.shape
    return x_BSD.reshape((batch, length, heads, dim // heads)).transpose(0, 2, 1, 3)


def linear(x: Var, weight_OI: Var, bias_O: Var, act: str | None = None) -> Var:
    """x weight^T + bias over the last axis, then the activation ``act``."""
    if not in_use():
        return activation(act, nn.linear(x, weight_OI, bias_O))
    flat_NI, relu = x.reshape((-1, x.shape[-1])), act == "relu"
    y = native_linear.Linear.apply(flat_NI, weight_OI, bias_O, relu).reshape((*x.shape[:-1], bias_O.shape[0]))
    return y if relu else activation(act, y)


class _BatchNorm(jt.Function):
    """Normalises over batch, height and width; statistics in two passes, the gradient in closed form."""

    def execute(self, x_BCHW: Var, weight_C: Var, bias_C: Var, eps: float) -> tuple[Var, Var, Var]:
        self.count = x_BCHW.shape[0] * x_BCHW.shape[2] * x_BCHW.shape[3]
        mean_C = _channel_sum(x_BCHW) / self.count
        centred_BCHW = x_BCHW - _per_channel(mean_C)
        var_C = _channel_sum(centred_BCHW * centred_BCHW) / self.count
        self.inverse_C = 1 / jt.sqrt(var_C + constant(eps, x_BCHW))
        self.normal_BCHW, self.weight_C = centred_BCHW * _per_channel(self.inverse_C), weight_C
        y_BCHW = self.normal_BCHW * _per_channel(weight_C) + _per_channel(bias_C)
        return y_BCHW, mean_C, var_C

    def grad(self, grad_BCHW: Var, grad_mean_C: Var | None, grad_var_C: Var | None) -> tuple[Var, Var, Var, None]:
        grad_bias_C = _channel_sum(grad_BCHW)
        grad_weight_C = _channel_sum(grad_BCHW * self.normal_BCHW)
        share_BCHW = _per_channel(grad_bias_C / self.count) + self.normal_BCHW * _per_channel(
            grad_weight_C / self.count
        )
        grad_x_BCHW = (grad_BCHW - share_BCHW) * _per_channel(self.weight_C * self.inverse_C)
        return grad_x_BCHW, grad_weight_C, grad_bias_C, None


def batch_norm(x_BCHW: Var, weight_C: Var, bias_C: Var, eps: float, act: str | None = None) -> tuple[Var, Var, Var]:
    """Normalised and activated input [B, C, H, W], batch mean [C] and biased variance [C].

    No gradient flows through mean and variance. ``act``: see ``activation``.
    """
    if in_use():
        return native_norms.BatchNorm.apply(x_BCHW, weight_C, bias_C, eps, act)
    y_BCHW, mean_C, var_C = _BatchNorm.apply(x_BCHW, weight_C, bias_C, eps)
    return activation(act, y_BCHW), mean_C, var_C


def fixed_norm(
    x_BCHW: Var, weight_C: Var, bias_C: Var, mean_C: Var, var_C: Var, eps: float, act: str | None = None
) -> Var:
    """Batch norm by given statistics, then the activation ``act``; [B, C, H, W]."""
    constants = [weight_C, bias_C, mean_C, var_C]
    if in_use() and (jt.flags.no_grad or all(c.is_stop_grad() for c in constants)):
        return native_norms.FixedNorm.apply(x_BCHW, constants, eps, act)
    scale_C = weight_C / jt.sqrt(var_C + constant(eps, x_BCHW))
    shift_C = bias_C - mean_C * scale_C
    return activation(act, x_BCHW * _per_channel(scale_C) + _per_channel(shift_C))


def layer_norm(x: Var, weight_D: Var, bias_D: Var, eps: float) -> Var:
    """Normalised last axis; the mean is subtracted before anything is squared."""
    dim = x.shape[-1]
    if in_use():
        return native_norms.LayerNorm.apply(x.reshape((-1, dim)), weight_D, bias_D, eps).reshape(x.shape)
    centred = x - x.sum(-1, keepdims=True) / dim
    variance = (centred * centred).sum(-1, keepdims=True) / dim
    return centred / jt.sqrt(variance + constant(eps, x)) * weight_D + bias_D


def _channel_sum(x_BCHW: Var) -> Var:
    """Three short sums: one float32 sum over 18,000 pixels loses ten times as many digits as PyTorch's."""
    return x_BCHW.sum(3).sum(2).sum(0)


def _per_channel(x_C: Var) -> Var:
    return x_C.reshape((1, -1, 1, 1))


class _OwnDtypeGradient(jt.Function):
    def execute(self, x: Var) -> Var:
        self.dtype = x.dtype
        return x.clone()

    def grad(self, grad: Var) -> Var:
        # A cast is not enough: Jittor still treats the result as a plain number, and numbers do not promote.
        return grad * jt.array(np.ones(1, str(self.dtype)))


def own_dtype_gradient(x: Var) -> Var:
    """A copy of x whose gradient starts in the dtype of x.

    ``jt.grad`` starts from the plain number one, which stays float32 until it meets an array: in a float64
    graph a loss divided by 160 boxes had gradients 1.5e-8 off.
    """
    return _OwnDtypeGradient.apply(x)


def spatial_mean(x_BCHW: Var) -> Var:
    """Mean over height and width, [B, C, 1, 1]: summed axis by axis, divided in the input's dtype.

    The gradient of ``mean`` has 1 / N as a float32 number, 1e-9 off in float64.
    """
    return (x_BCHW.sum(3).sum(2) / (x_BCHW.shape[2] * x_BCHW.shape[3])).reshape((*x_BCHW.shape[:2], 1, 1))


def full_sum(x: Var) -> Var:
    """Sum of all elements, axis by axis.

    Jittor adds one number after the other: for 96,000 varifocal terms in float32 that was 2e-4 off, PyTorch 3e-7.
    """
    while len(x.shape) > 1:
        x = x.sum(-1)
    return x.sum()


def sum_of_squares(tensors: list[Var]) -> Var:
    """Sum over all elements of all tensors, [1]."""
    if in_use():
        return native_update.sum_of_squares(tensors)
    return jt.concat([full_sum(x * x).reshape((1,)) for x in tensors], dim=0).sum()


def scaled(x: Var, factor: Var) -> Var:
    """x times ``factor`` [1], without gradient."""
    return native_update.scaled(x, factor) if in_use() else x * factor


def weighted_mean(x: Var, y: Var, share: float) -> Var:
    """share * x + (1 - share) * y, without gradient."""
    if in_use():
        return native_update.weighted_mean(x, y, share)
    return constant(share, x) * x + constant(1 - share, x) * y


def plus(x: Var, factor: float, y: Var) -> Var:
    """x + factor * y, without gradient; as one row, since Jittor compiles a kernel for each number of axes."""
    return (x.reshape((-1,)) + constant(factor, x) * y.reshape((-1,))).reshape(x.shape)


def adamw(parameter: Var, moment1: Var, moment2: Var, gradient: Var, numbers: dict[str, float]) -> list[Var]:
    """New parameter, first and second moment of one AdamW step; ``numbers``: see ``Optimizer._numbers``."""
    if in_use():
        return native_update.adamw(parameter, moment1, moment2, gradient, numbers)
    n = {name: constant(value, parameter) for name, value in numbers.items()}
    moment1 = n["beta1"] * moment1 + n["rest1"] * gradient
    moment2 = n["beta2"] * moment2 + n["rest2"] * gradient * gradient
    root = jt.sqrt(moment2) / n["root_correction"] + n["eps"]
    return [parameter * n["kept"] - n["rate"] * (moment1 / root), moment1, moment2]


class _ExactGelu(jt.Function):
    """x * Phi(x). Jittor's own erf gradient carries a float32 constant, 8e-8 off in float64."""

    def execute(self, x: Var) -> Var:
        self.x = x
        self.phi = (jt.erf(x * constant(1 / math.sqrt(2), x)) + 1) * 0.5
        return x * self.phi

    def grad(self, grad: Var) -> Var:
        density = jt.exp(self.x * self.x * -0.5) * constant(1 / math.sqrt(2 * math.pi), self.x)
        return grad * (self.phi + self.x * density)


def exact_gelu(x: Var) -> Var:
    """Elementwise GELU in its erf form."""
    return _ExactGelu.apply(x)


def activation(name: str | None, x: Var) -> Var:
    """Elementwise ReLU, SiLU or exact (erf) GELU: ``name`` is "relu", "silu" or "gelu"; None changes nothing."""
    if name is None:
        return x
    if name == "relu":
        return nn.relu(x)
    if name == "silu":
        return nn.silu(x)
    return exact_gelu(x)


class _BinaryCrossEntropy(jt.Function):
    """Weighted BCE on logits; the gradient is sigmoid(x) - target, also at a logit of exactly zero.

    Jittor's ``abs`` has the gradient 1 at zero, so the usual stable formula would be wrong there.
    """

    def execute(self, logits: Var, target: Var, weight: Var) -> Var:
        self.slope = weight * (logits.sigmoid() - target)
        return weight * (jt.maximum(logits, 0) - logits * target + jt.log(1 + jt.exp(-logits.abs())))

    def grad(self, grad: Var) -> tuple[Var, None, None]:
        return grad * self.slope, None, None


def binary_cross_entropy(logits: Var, target: Var, weight: Var) -> Var:
    """Elementwise, weighted, same shape; no gradient towards target and weight."""
    return _BinaryCrossEntropy.apply(logits, target, weight)
