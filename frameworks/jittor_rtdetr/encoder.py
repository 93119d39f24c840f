"""Hybrid encoder: mixes the backbone's feature maps within and across scales (RT-DETR, arXiv 2304.08069, 4.2).

    backbone's maps [B, C_i, H_i, W_i], here strides 8, 16, 32
      | input_proj: 1x1 convolution, norm
    P3, P4, P5 [B, D, H_i, W_i]
      | AIFI (encoder), on the levels of use_encoder_idx, here P5:
      |   flatten to [B, S, D], add positions, self-attention and feed-forward, back to [B, D, H, W]
      | CCFM, top-down:   F5 = lateral(P5)
      |                   F4 = lateral(fpn_block([up(F5), P4]))    [a, b]: [B, 2 * D, H, W]
      |                   F3 = fpn_block([up(F4), P3])
      | CCFM, bottom-up:  N3 = F3
      |                   N4 = pan_block([down(N3), F4])
      |                   N5 = pan_block([down(N4), F5])
    N3, N4, N5 [B, D, H_i, W_i]

Shape suffixes: B batch, C channels, H height, W width, D model width, S = H * W.
"""

import functools

import jittor as jt
import numpy as np
from jittor import Var, nn

from frameworks.config import ModelSpec
from frameworks.jittor_rtdetr.attention import MultiheadAttention
from frameworks.jittor_rtdetr.layers import BatchNorm2d, Conv2d, ConvNorm, LayerNorm, Linear, activation


class EncoderLayer(nn.Module):
    """Post-norm transformer layer; the position embedding enters queries and keys, never values."""

    def __init__(self, dim: int, heads: int, feedforward: int, act: str) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(dim, heads)
        self.linear1 = Linear(dim, feedforward)
        self.linear2 = Linear(feedforward, dim)
        self.norm1 = LayerNorm(dim)
        self.norm2 = LayerNorm(dim)
        self.act = act

    def execute(self, x_BSD: Var, position_1SD: Var) -> Var:
        """Tokens [B, S, D] and their position embedding [1, S, D] -> [B, S, D]."""
        query_BSD = x_BSD + position_1SD
        x_BSD = self.norm1(x_BSD + self.self_attn(query_BSD, query_BSD, x_BSD, None))
        return self.norm2(x_BSD + self.linear2(self.linear1(x_BSD, self.act)))


class TransformerEncoder(nn.Module):
    """A stack of EncoderLayer."""

    def __init__(self, layers: int, dim: int, heads: int, feedforward: int, act: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList([EncoderLayer(dim, heads, feedforward, act) for _ in range(layers)])

    def execute(self, x_BSD: Var, position_1SD: Var) -> Var:
        """Tokens [B, S, D] and their position embedding [1, S, D] -> [B, S, D]."""
        for layer in self.layers:
            x_BSD = layer(x_BSD, position_1SD)
        return x_BSD


class RepVggBlock(nn.Module):
    """Sum of a 3x3 and a 1x1 convolution, each with its norm, then the activation; no identity branch."""

    def __init__(self, channels: int, act: str) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, channels, 3)
        self.conv2: ConvNorm | None = ConvNorm(channels, channels, 1)  # None in deploy form: merged into conv1
        self.act = act

    def execute(self, x_BCHW: Var) -> Var:
        """[B, C, H, W] -> [B, C, H, W]."""
        y_BCHW = self.conv1(x_BCHW)
        return activation(self.act, y_BCHW if self.conv2 is None else y_BCHW + self.conv2(x_BCHW))


class CSPRepLayer(nn.Module):
    """Sum of two 1x1 branches, one of them with RepVGG blocks behind it: the fusion block of CCFM."""

    def __init__(self, dim: int, hidden: int, blocks: int, act: str) -> None:
        super().__init__()
        self.conv1 = ConvNorm(2 * dim, hidden, 1, act=act)
        self.conv2 = ConvNorm(2 * dim, hidden, 1, act=act)
        self.bottlenecks = nn.Sequential(*(RepVggBlock(hidden, act) for _ in range(blocks)))
        self.conv3 = None if hidden == dim else ConvNorm(hidden, dim, 1, act=act)

    def execute(self, x_BCHW: Var) -> Var:
        """Two maps side by side [B, 2 * dim, H, W] -> one map [B, dim, H, W]."""
        y_BCHW = self.bottlenecks(self.conv1(x_BCHW)) + self.conv2(x_BCHW)
        return y_BCHW if self.conv3 is None else self.conv3(y_BCHW)


def position_embedding(h: int, w: int, dim: int, temperature: float, like: Var) -> Var:
    """2-D sine-cosine embedding [1, h * w, dim], channels [sin x, cos x, sin y, cos y].

    As in the official code, positions run with x outermost while feature maps are flattened with y outermost.
    At square inputs that only swaps the axes; at others positions are scrambled, and the official checkpoints
    depend on it (docs/pitfalls.md B.3).

    Built on the host: Jittor's pow is exact to float32 only.
    """
    return _position_embedding(h, w, dim, temperature, str(like.dtype))


@functools.lru_cache(maxsize=32)  # the same in every pass; nobody writes to it
def _position_embedding(h: int, w: int, dim: int, temperature: float, dtype_name: str) -> Var:
    dtype = np.dtype(dtype_name)
    x, y = np.meshgrid(np.arange(w, dtype=dtype), np.arange(h, dtype=dtype), indexing="ij")
    exponent = np.arange(dim // 4, dtype=dtype) / dtype.type(dim // 4)
    omega = 1 / dtype.type(temperature) ** exponent
    angle_x, angle_y = x.reshape(-1, 1) * omega, y.reshape(-1, 1) * omega
    parts = [np.sin(angle_x), np.cos(angle_x), np.sin(angle_y), np.cos(angle_y)]
    return jt.array(np.concatenate(parts, axis=1)[None]).stop_grad()


def input_projection(version: str, channels: int, dim: int) -> nn.Module:
    """1x1 convolution and norm to the encoder's width: children numbered 0 and 1 in v1, named in v2."""
    if version == "v1":
        return nn.Sequential(Conv2d(channels, dim, 1, bias=False), BatchNorm2d(dim))
    return ConvNorm(channels, dim, 1)


class HybridEncoder(nn.Module):
    """Feature maps of the backbone -> as many maps of width ``hidden_dim``: AIFI, then CCFM."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        e, dim, levels = spec.encoder, spec.encoder.hidden_dim, spec.num_levels
        self.spec = e
        self.input_proj = nn.ModuleList(
            [input_projection(spec.version, channels, dim) for channels in spec.backbone.out_channels]
        )
        self.encoder = nn.ModuleList(
            [
                TransformerEncoder(e.num_encoder_layers, dim, e.nhead, e.dim_feedforward, e.enc_act)
                for _ in e.use_encoder_idx
            ]
        )
        self.lateral_convs = nn.ModuleList([ConvNorm(dim, dim, 1, act=e.act) for _ in range(levels - 1)])
        self.fpn_blocks = nn.ModuleList(
            [CSPRepLayer(dim, e.csp_dim, e.num_rep_blocks, e.act) for _ in range(levels - 1)]
        )
        self.downsample_convs = nn.ModuleList([ConvNorm(dim, dim, 3, 2, act=e.act) for _ in range(levels - 1)])
        self.pan_blocks = nn.ModuleList(
            [CSPRepLayer(dim, e.csp_dim, e.num_rep_blocks, e.act) for _ in range(levels - 1)]
        )

    def execute(self, features: list[Var]) -> list[Var]:
        """Maps [B, C_i, H_i, W_i] from fine to coarse -> maps [B, D, H_i, W_i]; sizes must halve exactly."""
        levels = [project(x) for project, x in zip(self.input_proj, features, strict=True)]
        for encoder, level in zip(self.encoder, self.spec.use_encoder_idx, strict=True):
            levels[level] = self._attend(encoder, levels[level])
        return self._fuse(levels)

    def _attend(self, encoder: nn.Module, x_BDHW: Var) -> Var:
        """AIFI on one level."""
        batch, dim, h, w = x_BDHW.shape
        position_1SD = position_embedding(h, w, dim, self.spec.pe_temperature, x_BDHW)
        y_BSD = encoder(x_BDHW.reshape((batch, dim, h * w)).transpose(0, 2, 1), position_1SD)
        return y_BSD.transpose(0, 2, 1).reshape((batch, dim, h, w))

    def _fuse(self, levels: list[Var]) -> list[Var]:
        """CCFM: top-down, then bottom-up."""
        inner = [levels[-1]]
        for i, low in enumerate(reversed(levels[:-1])):
            # The lateral convolution's output replaces its input: the bottom-up path reads it too.
            inner[0] = self.lateral_convs[i](inner[0])
            upsampled = nn.interpolate(inner[0], scale_factor=2, mode="nearest")
            inner.insert(0, self.fpn_blocks[i](jt.concat([upsampled, low], dim=1)))
        outputs = [inner[0]]
        for i, high in enumerate(inner[1:]):
            down = self.downsample_convs[i](outputs[-1])
            outputs.append(self.pan_blocks[i](jt.concat([down, high], dim=1)))
        return outputs
