"""RegNetY (Radosavovic et al., arXiv 2003.13678) as RT-DETR uses it: ``facebook/regnet-y-040``.

Shape suffixes: B batch, C channels, H height, W width.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from frameworks.config import RegNetSpec
from frameworks.torch_rtdetr.backbones.freezing import batch_norm, freeze


class ConvNormAct(nn.Module):
    """Convolution without bias, batch norm, ReLU unless told otherwise."""

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
        self.convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False)
        self.normalization = batch_norm(channels_out, frozen)
        self.act = act

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW = self.normalization(self.convolution(x_BCHW))
        return F.relu(y_BCHW) if self.act else y_BCHW


class SqueezeExcitation(nn.Module):
    """Every channel times a gate in (0, 1) that is computed from the means of all channels."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.Conv2d(channels, squeezed, 1), nn.ReLU(), nn.Conv2d(squeezed, channels, 1), nn.Sigmoid()
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW * self.attention(x_BCHW.mean((2, 3), keepdim=True))


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
            # Squeezed to a quarter of what came in, not of what goes out.
            SqueezeExcitation(channels_out, round(channels_in / 4)),
            ConvNormAct(channels_out, channels_out, 1, act=False, frozen=frozen),
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        short_BCHW = x_BCHW if self.shortcut is None else self.shortcut(x_BCHW)
        return F.relu(self.layer(x_BCHW) + short_BCHW)


class Stage(nn.Module):
    """Layers at one resolution; the first one changes width and stride."""

    def __init__(self, spec: RegNetSpec, index: int, channels_in: int) -> None:
        super().__init__()
        width, frozen = spec.widths[index], spec.freeze_norm
        self.layers = nn.Sequential(
            Layer(channels_in, width, 2, spec.group_width, frozen),
            *(Layer(width, width, 1, spec.group_width, frozen) for _ in range(1, spec.depths[index])),
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.layers(x_BCHW)


class Stem(nn.Module):
    """One 3x3 convolution with stride 2."""

    def __init__(self, spec: RegNetSpec) -> None:
        super().__init__()
        self.embedder = ConvNormAct(3, spec.stem_channels, 3, stride=2, frozen=spec.freeze_norm)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        return self.embedder(images_B3HW)


class Stages(nn.Module):
    """The four stages -> their outputs."""

    def __init__(self, spec: RegNetSpec) -> None:
        super().__init__()
        widths = [spec.stem_channels, *spec.widths]
        self.stages = nn.ModuleList(Stage(spec, i, widths[i]) for i in range(4))

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        features = []
        for stage in self.stages:
            x_BCHW = stage(x_BCHW)
            features.append(x_BCHW)
        return features


class Layers(nn.Module):
    """Stem and stages, one level down in the names as in the library that the official code takes them from."""

    def __init__(self, spec: RegNetSpec) -> None:
        super().__init__()
        self.embedder = Stem(spec)
        self.encoder = Stages(spec)

    def forward(self, images_B3HW: Tensor) -> list[Tensor]:
        return self.encoder(self.embedder(images_B3HW))


class RegNet(nn.Module):
    """Images [B, 3, H, W] in [0, 1] -> feature maps of the stages in ``return_idx``."""

    def __init__(self, spec: RegNetSpec) -> None:
        super().__init__()
        self.return_idx = spec.return_idx
        self.model = Layers(spec)
        freeze([self.model.embedder], self.model.encoder.stages, spec.freeze_at)

    def forward(self, images_B3HW: Tensor) -> list[Tensor]:
        features = self.model(images_B3HW)
        return [features[i] for i in self.return_idx]
