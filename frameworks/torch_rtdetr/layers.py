"""Norms, activations, convolution with norm, and MLP: the blocks that the rest of the model is built of.

Shape suffixes: B batch, C channels, H height, W width, D model width, S sequence.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BatchNorm2d(nn.BatchNorm2d):
    """PyTorch's batch norm: eps 1e-5, momentum 0.1, normalises by the biased variance, keeps the unbiased one."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        return _with_contiguous_gradient(super().forward(x_BCHW))


class FrozenBatchNorm2d(nn.Module):
    """Batch norm whose statistics and affine parameters are constants (official FrozenBatchNorm2d)."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.eps = 1e-5

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        # scale * x + shift like the official code, but in one pass over memory
        y_BCHW = F.batch_norm(x_BCHW, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return _with_contiguous_gradient(y_BCHW)


def _with_contiguous_gradient(y_BCHW: Tensor) -> Tensor:
    """The same tensor, whose gradient is made contiguous where the batch is a single image.

    With one image, ``flatten(2).transpose(1, 2)`` behind a norm sends back a gradient whose batch axis has the
    stride C, not C * H * W. PyTorch's batch norm (2.13, CPU) misreads it: all gradients before it are then wrong.
    """
    if y_BCHW.requires_grad and len(y_BCHW) == 1:
        y_BCHW.register_hook(Tensor.contiguous)
    return y_BCHW


class LayerNorm(nn.LayerNorm):
    """PyTorch's layer norm over the last axis: eps 1e-5, biased variance."""


def activation(name: str, x: Tensor) -> Tensor:
    """Elementwise ReLU, SiLU or exact (erf) GELU: ``name`` is "relu", "silu" or "gelu"."""
    if name == "relu":
        return F.relu(x)
    if name == "silu":
        return F.silu(x)
    return F.gelu(x)


def chain(modules: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    """Outputs of all modules, each run on the output of the one before; the first on x."""
    outputs = []
    for module in modules:
        x = module(x)
        outputs.append(x)
    return outputs


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
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, (kernel - 1) // 2, bias=False)
        self.norm = FrozenBatchNorm2d(channels_out) if frozen else BatchNorm2d(channels_out)
        self.act = act

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, C_in, H, W] -> [B, C_out, H / stride, W / stride]."""
        y_BCHW = self.norm(self.conv(x_BCHW))
        return y_BCHW if self.act is None else activation(self.act, y_BCHW)


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(widths[i], widths[i + 1]) for i in range(len(widths) - 1))

    def forward(self, x: Tensor) -> Tensor:
        """[..., widths[0]] -> [..., widths[-1]]."""
        for i, layer in enumerate(self.layers):
            x = layer(x) if i == len(self.layers) - 1 else F.relu(layer(x))
        return x
