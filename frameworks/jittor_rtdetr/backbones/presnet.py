"""PResNet: ResNet variant d (He et al., arXiv 1812.01187) as RT-DETR uses it (official PResNet).

Shape suffixes: B batch, C channels, H height, W width.
"""

from jittor import Var, nn

from frameworks.config import PResNetSpec
from frameworks.jittor_rtdetr.backbones.freezing import freeze
from frameworks.jittor_rtdetr.layers import ConvNorm, chain


class PooledShortcut(nn.Module):
    """Average pooling by 2, then a 1x1 convolution; a strided 1x1 convolution would skip three pixels of four."""

    def __init__(self, channels_in: int, channels_out: int, frozen: bool) -> None:
        super().__init__()
        self.conv = ConvNorm(channels_in, channels_out, 1, frozen=frozen)

    def execute(self, x_BCHW: Var) -> Var:
        """[B, C_in, H, W] -> [B, C_out, H / 2, W / 2], sizes rounded up."""
        # ceil_mode: at odd sizes the last window averages over the pixels that exist
        return self.conv(nn.avg_pool2d(x_BCHW, 2, 2, 0, ceil_mode=True))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (ResNet-18 and 34)."""

    def __init__(self, channels_in: int, width: int, stride: int, first: bool, frozen: bool) -> None:
        super().__init__()
        self.branch2a = ConvNorm(channels_in, width, 3, stride, act="relu", frozen=frozen)
        self.branch2b = ConvNorm(width, width, 3, frozen=frozen)
        self.short = _shortcut(channels_in, width, stride, first, frozen)

    def execute(self, x_BCHW: Var) -> Var:
        """[B, C_in, H, W] -> [B, C_out, H / stride, W / stride]."""
        short_BCHW = x_BCHW if self.short is None else self.short(x_BCHW)
        return nn.relu(self.branch2b(self.branch2a(x_BCHW)) + short_BCHW)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 to four times the width, and a shortcut (ResNet-50 and 101)."""

    def __init__(self, channels_in: int, width: int, stride: int, first: bool, frozen: bool) -> None:
        super().__init__()
        self.branch2a = ConvNorm(channels_in, width, 1, act="relu", frozen=frozen)
        self.branch2b = ConvNorm(width, width, 3, stride, act="relu", frozen=frozen)
        self.branch2c = ConvNorm(width, width * 4, 1, frozen=frozen)
        self.short = _shortcut(channels_in, width * 4, stride, first, frozen)

    def execute(self, x_BCHW: Var) -> Var:
        """[B, C_in, H, W] -> [B, C_out, H / stride, W / stride]."""
        short_BCHW = x_BCHW if self.short is None else self.short(x_BCHW)
        return nn.relu(self.branch2c(self.branch2b(self.branch2a(x_BCHW))) + short_BCHW)


def _shortcut(channels_in: int, channels_out: int, stride: int, first: bool, frozen: bool) -> nn.Module | None:
    if not first:
        return None
    if stride == 2:
        return PooledShortcut(channels_in, channels_out, frozen)
    return ConvNorm(channels_in, channels_out, 1, frozen=frozen)


class Stage(nn.Module):
    """Blocks at one resolution; the first one changes width and stride."""

    def __init__(self, spec: PResNetSpec, index: int, channels_in: int) -> None:
        super().__init__()
        block = BasicBlock if spec.block == "basic" else Bottleneck
        width, stride = spec.stage_channels[index], 1 if index == 0 else 2
        widths = [channels_in, *[width * spec.expansion] * (spec.blocks[index] - 1)]
        self.blocks = nn.Sequential(
            *(
                block(before, width, stride if i == 0 else 1, first=i == 0, frozen=spec.freeze_norm)
                for i, before in enumerate(widths)
            )
        )

    def execute(self, x_BCHW: Var) -> Var:
        """[B, C_in, H, W] -> [B, C_out, H / s, W / s], s = 1 in the first stage, else 2."""
        return self.blocks(x_BCHW)


class Stem(nn.Module):
    """Three 3x3 convolutions, the first with stride 2, in place of ResNet's 7x7."""

    def __init__(self, spec: PResNetSpec) -> None:
        super().__init__()
        a, b, c = spec.stem_channels
        self.conv1_1 = ConvNorm(3, a, 3, 2, act="relu", frozen=spec.freeze_norm)
        self.conv1_2 = ConvNorm(a, b, 3, act="relu", frozen=spec.freeze_norm)
        self.conv1_3 = ConvNorm(b, c, 3, act="relu", frozen=spec.freeze_norm)

    def execute(self, images_B3HW: Var) -> Var:
        """[B, 3, H, W] -> [B, C, H / 2, W / 2]."""
        return self.conv1_3(self.conv1_2(self.conv1_1(images_B3HW)))


class PResNet(nn.Module):
    """Stem, max pooling and four stages; returns the stages in ``return_idx``."""

    def __init__(self, spec: PResNetSpec) -> None:
        super().__init__()
        self.return_idx = spec.return_idx
        self.conv1 = Stem(spec)
        widths = [spec.stem_channels[-1], *(c * spec.expansion for c in spec.stage_channels)]
        self.res_layers = nn.ModuleList([Stage(spec, i, widths[i]) for i in range(4)])
        freeze([self.conv1], self.res_layers, spec.freeze_at)

    def execute(self, images_B3HW: Var) -> list[Var]:
        """Images [B, 3, H, W] in [0, 1] -> maps [B, C_i, H / s_i, W / s_i]: the spec has C_i and s_i."""
        x_BCHW = nn.max_pool2d(self.conv1(images_B3HW), kernel_size=3, stride=2, padding=1)
        features = chain(self.res_layers, x_BCHW)
        return [features[i] for i in self.return_idx]
