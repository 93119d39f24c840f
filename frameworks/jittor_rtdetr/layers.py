"""Norms, activations, convolution with norm, and MLP: the blocks that the rest of the model is built of.

Shape suffixes: B batch, C channels, H height, W width, D model width, S sequence.
"""

from collections.abc import Iterable

import jittor as jt
from jittor import Var, nn

from frameworks.jittor_rtdetr import operators
from frameworks.jittor_rtdetr.operators import batch_norm, constant, convolution, fixed_norm, layer_norm, linear


class BatchNorm2d(nn.Module):
    """PyTorch's batch norm: eps 1e-5, momentum 0.1, normalises by the biased variance, keeps the unbiased one.

    ``jt.nn.BatchNorm`` computes E[x^2] - E[x]^2, which cancels in float32, and keeps the biased variance; this
    one subtracts the mean first.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = jt.ones((channels,))
        self.bias = jt.zeros((channels,))
        self.running_mean = jt.zeros((channels,)).stop_grad()
        self.running_var = jt.ones((channels,)).stop_grad()
        self.num_batches_tracked = 0  # a plain number: nothing in the graph reads it
        self.eps = 1e-5
        self.momentum = 0.1

    def execute(self, x_BCHW: Var, act: str | None = None) -> Var:
        """[B, C, H, W] -> [B, C, H, W], activated by ``act``; in training mode by batch statistics.

        Training updates the running statistics.
        """
        if not self.is_train:
            running = (self.running_mean, self.running_var)
            return fixed_norm(x_BCHW, self.weight, self.bias, *running, self.eps, act)
        count = x_BCHW.shape[0] * x_BCHW.shape[2] * x_BCHW.shape[3]
        y_BCHW, mean_C, var_C = batch_norm(x_BCHW, self.weight, self.bias, self.eps, act)
        self._update_statistics(mean_C, var_C, count)
        return y_BCHW

    def _update_statistics(self, mean_C: Var, var_C: Var, count: int) -> None:
        momentum = constant(self.momentum, mean_C)
        unbiased_C = var_C.detach() * constant(count / max(count - 1, 1), var_C)
        self.running_mean.update(self.running_mean + (mean_C.detach() - self.running_mean) * momentum)
        self.running_var.update(self.running_var + (unbiased_C - self.running_var) * momentum)
        self.num_batches_tracked += 1


class FrozenBatchNorm2d(nn.Module):
    """Batch norm whose statistics and affine parameters are constants (official FrozenBatchNorm2d)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = jt.ones((channels,)).stop_grad()
        self.bias = jt.zeros((channels,)).stop_grad()
        self.running_mean = jt.zeros((channels,)).stop_grad()
        self.running_var = jt.ones((channels,)).stop_grad()
        self.eps = 1e-5

    def execute(self, x_BCHW: Var, act: str | None = None) -> Var:
        """[B, C, H, W] -> [B, C, H, W], activated by ``act``."""
        return fixed_norm(x_BCHW, self.weight, self.bias, self.running_mean, self.running_var, self.eps, act)


class LayerNorm(nn.Module):
    """PyTorch's layer norm over the last axis: eps 1e-5, biased variance; the mean is subtracted first."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = jt.ones((dim,))
        self.bias = jt.zeros((dim,))
        self.eps = 1e-5

    def execute(self, x: Var) -> Var:
        """[..., D] -> [..., D]."""
        return layer_norm(x, self.weight, self.bias, self.eps)


def activation(name: str, x: Var) -> Var:
    """Elementwise ReLU, SiLU or exact (erf) GELU: ``name`` is "relu", "silu" or "gelu"."""
    return operators.activation(name, x)


def chain(modules: Iterable[nn.Module], x: Var) -> list[Var]:
    """Outputs of all modules, each run on the output of the one before; the first on x."""
    outputs = []
    for module in modules:
        x = module(x)
        outputs.append(x)
    return outputs


class Conv2d(nn.Conv2d):
    """PyTorch's convolution; Jittor's own is slow in float64."""

    def execute(self, x_BCHW: Var) -> Var:
        """[B, C, H, W] -> [B, C_out, H', W']."""
        return convolution(self, x_BCHW)


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, optional activation; padding keeps the size at stride 1."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int = 1,
        act: str | None = None,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.conv = Conv2d(channels_in, channels_out, kernel, stride, (kernel - 1) // 2, bias=False)
        self.norm = FrozenBatchNorm2d(channels_out) if frozen else BatchNorm2d(channels_out)
        self.act = act

    def execute(self, x_BCHW: Var) -> Var:
        """[B, C_in, H, W] -> [B, C_out, H / stride, W / stride]."""
        y_BCHW = self.conv(x_BCHW)
        if isinstance(self.norm, nn.Identity):  # deploy form: folded into the convolution
            return operators.activation(self.act, y_BCHW)
        return self.norm(y_BCHW, self.act)


class Linear(nn.Linear):
    """PyTorch's linear layer; an activation right behind it is computed in the same pass."""

    def execute(self, x: Var, act: str | None = None) -> Var:
        """[..., in] -> [..., out], activated by ``act``."""
        return linear(x, self.weight, self.bias, act)


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Linear(widths[i], widths[i + 1]) for i in range(len(widths) - 1)])

    def execute(self, x: Var) -> Var:
        """[..., widths[0]] -> [..., widths[-1]]."""
        for i, layer in enumerate(self.layers):
            x = layer(x, None if i == len(self.layers) - 1 else "relu")
        return x
