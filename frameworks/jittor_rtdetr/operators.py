"""Operators that Jittor 1.3 lacks, or has in a form that is inexact or slow. The PyTorch twin needs none of them.

Each is here for a measured reason; ``frameworks/tests/test_jittor_pieces.py`` holds them to closed forms.
"""

import math

import jittor as jt
import numpy as np
from jittor import Var


def constant(value: float, like: Var) -> Var | float:
    """A Python number in the dtype of ``like``: Jittor rounds plain numbers to float32 even in float64 graphs."""
    if like.dtype == "float32" or float(np.float32(value)) == value:
        return value
    return jt.array(np.asarray([value], str(like.dtype))).stop_grad()


class _Softmax(jt.Function):
    """Keeps its answer for the gradient; Jittor's own takes exponentials again in every kernel that needs one."""

    def execute(self, x: Var) -> Var:
        power = jt.exp(x - x.max(-1, keepdims=True))
        self.answer = power / power.sum(-1, keepdims=True)
        return self.answer

    def grad(self, grad: Var) -> Var:
        weighted = grad * self.answer
        return weighted - self.answer * weighted.sum(-1, keepdims=True)


def softmax(x: Var) -> Var:
    """Over the last axis."""
    return _Softmax.apply(x)


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
    """[..., X, Y] times [..., Y, Z]. On CPU ``jt.matmul`` of more than two axes is a plain loop in C++:
    measured 8.5 times slower forward and backward than one oneDNN product per matrix (32 of 500 x 32 x 500).
    """
    if jt.flags.use_cuda:
        return jt.matmul(a, b)
    product = _LoopedMatmul.apply(a.reshape((-1, *a.shape[-2:])), b.reshape((-1, *b.shape[-2:])))
    return product.reshape((*a.shape[:-1], b.shape[-1]))


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
    """GELU in its erf form."""
    return _ExactGelu.apply(x)


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
    """Elementwise, weighted; no gradient towards target and weight."""
    return _BinaryCrossEntropy.apply(logits, target, weight)
