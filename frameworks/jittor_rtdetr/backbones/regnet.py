"""RegNetY (Radosavovic et al., arXiv 2003.13678) as RT-DETR uses it: ``facebook/regnet-y-040``.

Shape suffixes: B batch, C channels, H height, W width.
"""

from jittor import Var, nn

from frameworks.config import RegNetSpec
from frameworks.jittor_rtdetr.backbones.freezing import batch_norm, freeze
from frameworks.jittor_rtdetr.layers import Conv2d, chain
from frameworks.jittor_rtdetr.operators import spatial_mean


class ConvNormAct(nn.Module):
    """Convolution without bias, batch norm and, with ``act``, ReLU."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        act: bool = True,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        padding = (kernel - 1) // 2
        self.convolution = Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False)
        self.normalization = batch_norm(channels_out, frozen)
        self.act = act

    def execute(self, x_BCHW: Var) -> Var:
        """[B, C_in, H, W] -> [B, C_out, H / stride, W / stride]."""
        y_BCHW = self.normalization(self.convolution(x_BCHW))
        return nn.relu(y_BCHW) if self.act else y_BCHW


class SqueezeExcitation(nn.Module):
    """Every channel times a gate in (0, 1) that is computed from the means of all channels."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            Conv2d(channels, squeezed, 1), nn.ReLU(), Conv2d(squeezed, channels, 1), nn.Sigmoid()
        )

    def execute(self, x_BCHW: Var) -> Var:
        """[B, C, H, W] -> [B, C, H, W]."""
        return x_BCHW * self.attention(spatial_mean(x_BCHW))


class Layer(nn.Module):
    """1x1, grouped 3x3 (with the stride), squeeze-and-excitation, 1x1, and a shortcut."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, group_width: int, frozen: bool) -> None:
        super().__init__()
        self.shortcut = None
        if stride != 1 or channels_in != channels_out:
            self.shortcut = ConvNormAct(channels_in, channels_out, 1, stride, act=False, frozen=frozen)
        groups = channels_out // group_width
        self.layer = nn.Sequential(
            ConvNormAct(channels_in, channels_out, 1, frozen=frozen),
            ConvNormAct(channels_out, channels_out, 3, stride, groups, frozen=frozen),
            # A quarter of the layer's input channels, not of its own.
            SqueezeExcitation(channels_out, round(channels_in / 4)),
            ConvNormAct(channels_out, channels_out, 1, act=False, frozen=frozen),
        )

    def execute(self, x_BCHW: Var) -> Var:
        """[B, C_in, H, W] -> [B, C_out, H / stride, W / stride]."""
        short_BCHW = x_BCHW if self.shortcut is None else self.shortcut(x_BCHW)
        return nn.relu(self.layer(x_BCHW) + short_BCHW)


class Stage(nn.Module):
    """Layers at one resolution; the first one changes width and stride."""

    def __init__(self, spec: RegNetSpec, index: int, channels_in: int) -> None:
        super().__init__()
        width, frozen = spec.widths[index], spec.freeze_norm
        self.layers = nn.Sequential(
            Layer(channels_in, width, 2, spec.group_width, frozen),
            *(Layer(width, width, 1, spec.group_width, frozen) for _ in range(1, spec.depths[index])),
        )

    def execute(self, x_BCHW: Var) -> Var:
        """[B, C_in, H, W] -> [B, C_out, H / 2, W / 2]."""
        return self.layers(x_BCHW)


class Stem(nn.Module):
    """One 3x3 convolution with stride 2."""

    def __init__(self, spec: RegNetSpec) -> None:
        super().__init__()
        self.embedder = ConvNormAct(3, spec.stem_channels, 3, stride=2, frozen=spec.freeze_norm)

    def execute(self, images_B3HW: Var) -> Var:
        """[B, 3, H, W] -> [B, C, H / 2, W / 2]."""
        return self.embedder(images_B3HW)


class Stages(nn.Module):
    """The four stages in sequence."""

    def __init__(self, spec: RegNetSpec) -> None:
        super().__init__()
        widths = [spec.stem_channels, *spec.widths]
        self.stages = nn.ModuleList([Stage(spec, i, widths[i]) for i in range(4)])

    def execute(self, x_BCHW: Var) -> list[Var]:
        """[B, C, H, W] -> four maps [B, C_i, H / s, W / s] with s = 2, 4, 8, 16."""
        return chain(self.stages, x_BCHW)


class Layers(nn.Module):
    """Stem and stages; this wrapper exists only so that names match ``transformers``' RegNet."""

    def __init__(self, spec: RegNetSpec) -> None:
        super().__init__()
        self.embedder = Stem(spec)
        self.encoder = Stages(spec)

    def execute(self, images_B3HW: Var) -> list[Var]:
        """[B, 3, H, W] -> four maps [B, C_i, H / s, W / s] with s = 4, 8, 16, 32."""
        return self.encoder(self.embedder(images_B3HW))


class RegNet(nn.Module):
    """RegNetY with the official parameter names; returns the stages in ``return_idx``."""

    def __init__(self, spec: RegNetSpec) -> None:
        super().__init__()
        self.return_idx = spec.return_idx
        self.model = Layers(spec)
        freeze([self.model.embedder], self.model.encoder.stages, spec.freeze_at)

    def execute(self, images_B3HW: Var) -> list[Var]:
        """Images [B, 3, H, W] in [0, 1] -> maps [B, C_i, H / s_i, W / s_i]: the spec has C_i and s_i."""
        features = self.model(images_B3HW)
        return [features[i] for i in self.return_idx]
