"""PP-HGNetV2 (PaddlePaddle) as RT-DETR uses it (official HGNetv2), without learnable affine blocks.

Shape suffixes: B batch, C channels, H height, W width.
"""

import jittor as jt
from jittor import Var, nn

from frameworks.config import HGNetv2Spec, HGStageSpec
from frameworks.jittor_rtdetr.backbones.freezing import batch_norm, freeze
from frameworks.jittor_rtdetr.layers import Conv2d, chain

RIGHT_AND_BOTTOM = (0, 1, 0, 1)  # one pixel of zeros: a 2x2 window then keeps the size


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
        conv = Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False)
        # An even kernel needs one row and column of padding more at one side.
        self.conv = conv if kernel % 2 == 1 else nn.Sequential(nn.ZeroPad2d(RIGHT_AND_BOTTOM), conv)
        self.bn = batch_norm(channels_out, frozen)
        self.act = act

    def execute(self, x_BCHW: Var) -> Var:
        """[B, C_in, H, W] -> [B, C_out, H / stride, W / stride]."""
        y_BCHW = self.bn(self.conv(x_BCHW))
        return nn.relu(y_BCHW) if self.act else y_BCHW


class LightConv(nn.Module):
    """1x1 convolution without activation, then a depthwise k x k convolution with ReLU."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, frozen: bool) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(channels_in, channels_out, 1, act=False, frozen=frozen)
        self.conv2 = ConvNormAct(channels_out, channels_out, kernel, groups=channels_out, frozen=frozen)

    def execute(self, x_BCHW: Var) -> Var:
        """[B, C_in, H, W] -> [B, C_out, H, W]."""
        return self.conv2(self.conv1(x_BCHW))


class Block(nn.Module):
    """A chain of layers; its input and every layer's output are concatenated and mixed by two 1x1 convolutions."""

    def __init__(self, spec: HGStageSpec, channels_in: int, residual: bool, frozen: bool) -> None:
        super().__init__()
        layer = LightConv if spec.light else ConvNormAct
        mid, half = spec.mid_channels, spec.out_channels // 2
        self.layers = nn.ModuleList(
            [layer(channels_in if i == 0 else mid, mid, spec.kernel, frozen=frozen) for i in range(spec.layers)]
        )
        self.aggregation_squeeze_conv = ConvNormAct(channels_in + spec.layers * mid, half, 1, frozen=frozen)
        self.aggregation_excitation_conv = ConvNormAct(half, spec.out_channels, 1, frozen=frozen)
        self.residual = residual

    def execute(self, x_BCHW: Var) -> Var:
        """[B, C_in, H, W] -> [B, C_out, H, W]."""
        outputs = [x_BCHW, *chain(self.layers, x_BCHW)]
        y_BCHW = self.aggregation_excitation_conv(self.aggregation_squeeze_conv(jt.concat(outputs, dim=1)))
        return x_BCHW + y_BCHW if self.residual else y_BCHW  # no activation after the sum


class Stage(nn.Module):
    """An optional strided depthwise convolution without activation, then the blocks."""

    def __init__(self, spec: HGStageSpec, channels_in: int, frozen: bool) -> None:
        super().__init__()
        self.downsample = None
        if spec.downsample:
            self.downsample = ConvNormAct(
                channels_in, channels_in, 3, stride=2, groups=channels_in, act=False, frozen=frozen
            )
        self.blocks = nn.Sequential(
            *(
                Block(spec, channels_in if i == 0 else spec.out_channels, residual=i > 0, frozen=frozen)
                for i in range(spec.blocks)
            )
        )

    def execute(self, x_BCHW: Var) -> Var:
        """[B, C_in, H, W] -> [B, C_out, H / s, W / s], s = 2 where the stage downsamples, else 1."""
        if self.downsample is not None:
            x_BCHW = self.downsample(x_BCHW)
        return self.blocks(x_BCHW)


class Stem(nn.Module):
    """Stride 4 in two branches at stride 2: a max pooling and two 2x2 convolutions."""

    def __init__(self, spec: HGNetv2Spec) -> None:
        super().__init__()
        (a, b), frozen = spec.stem_channels, spec.freeze_norm
        self.stem1 = ConvNormAct(3, a, 3, stride=2, frozen=frozen)
        self.stem2a = ConvNormAct(a, a // 2, 2, frozen=frozen)
        self.stem2b = ConvNormAct(a // 2, a, 2, frozen=frozen)
        self.stem3 = ConvNormAct(2 * a, a, 3, stride=2, frozen=frozen)
        self.stem4 = ConvNormAct(a, b, 1, frozen=frozen)

    def execute(self, images_B3HW: Var) -> Var:
        """[B, 3, H, W] -> [B, C, H / 4, W / 4]."""
        x_BCHW = self.stem1(images_B3HW)
        # Padded with zeros, not with -inf: the same after ReLU.
        pooled_BCHW = nn.max_pool2d(nn.pad(x_BCHW, RIGHT_AND_BOTTOM), kernel_size=2, stride=1)
        convolved_BCHW = self.stem2b(self.stem2a(x_BCHW))
        return self.stem4(self.stem3(jt.concat([pooled_BCHW, convolved_BCHW], dim=1)))


class HGNetv2(nn.Module):
    """Stem and four stages; returns the stages in ``return_idx``."""

    def __init__(self, spec: HGNetv2Spec) -> None:
        super().__init__()
        self.return_idx = spec.return_idx
        self.stem = Stem(spec)
        widths = [spec.stem_channels[-1], *(stage.out_channels for stage in spec.stages)]
        self.stages = nn.ModuleList(
            [Stage(stage, widths[i], spec.freeze_norm) for i, stage in enumerate(spec.stages)]
        )
        freeze([self.stem], self.stages, spec.freeze_at)

    def execute(self, images_B3HW: Var) -> list[Var]:
        """Images [B, 3, H, W] in [0, 1] -> maps [B, C_i, H / s_i, W / s_i]: the spec has C_i and s_i."""
        features = chain(self.stages, self.stem(images_B3HW))
        return [features[i] for i in self.return_idx]
