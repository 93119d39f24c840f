"""Specs of the four backbone families. ``ModelSpec.backbone`` holds one; its ``kind`` tells which in plain data."""

from dataclasses import dataclass

from frameworks.config.validation import require, require_choice

STRIDES = (4, 8, 16, 32)  # of stages 0 to 3


def _require_widths(spec: object, field: str, count: int, expected: str) -> None:
    values = getattr(spec, field)
    require(len(values) == count and min(values) >= 1, spec, field, expected)


class _Backbone:
    """Fields and properties that all families share."""

    return_idx: tuple[int, ...]  # stages whose feature maps the encoder receives, increasing
    freeze_at: int  # parameters that stay constant: -1 none; 0 the stem's; k those of the stem and k stages
    freeze_norm: bool  # batch norms with constant statistics and constant affine parameters

    def __post_init__(self) -> None:
        stages = list(self.return_idx)
        increasing = len(stages) > 0 and stages == sorted(set(stages))
        require(increasing, self, "return_idx", "increasing stage numbers")
        require(all(0 <= i < 4 for i in stages), self, "return_idx", "stages from 0 to 3")
        require(-1 <= self.freeze_at <= 4, self, "freeze_at", "-1 (nothing) to 4 (stem and all stages)")

    @property
    def stage_widths(self) -> tuple[int, ...]:
        """Channels of the feature map after each of the 4 stages."""
        raise NotImplementedError

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of each feature map that the encoder receives."""
        return tuple(self.stage_widths[i] for i in self.return_idx)

    @property
    def out_strides(self) -> tuple[int, ...]:
        """Stride of each feature map that the encoder receives, in pixels."""
        return tuple(STRIDES[i] for i in self.return_idx)


@dataclass(frozen=True)
class PResNetSpec(_Backbone):
    """PResNet-vd: ResNet with a three-convolution stem and average-pooled shortcuts (variant d)."""

    kind: str = "presnet"
    block: str = "basic"  # "basic" (expansion 1) or "bottleneck" (expansion 4)
    blocks: tuple[int, ...] = (2, 2, 2, 2)  # blocks per stage
    stem_channels: tuple[int, int, int] = (32, 32, 64)
    stage_channels: tuple[int, ...] = (64, 128, 256, 512)  # before expansion
    return_idx: tuple[int, ...] = (1, 2, 3)
    freeze_at: int = -1
    freeze_norm: bool = False

    def __post_init__(self) -> None:
        require_choice(self, "kind", ("presnet",))
        require_choice(self, "block", ("basic", "bottleneck"))
        _require_widths(self, "stage_channels", 4, "4 widths of at least 1 (strides 4, 8, 16, 32)")
        _require_widths(self, "blocks", 4, "4 counts of at least 1")
        _require_widths(self, "stem_channels", 3, "3 widths of at least 1")
        super().__post_init__()

    @property
    def expansion(self) -> int:
        """Output channels of a block divided by its inner width."""
        return 4 if self.block == "bottleneck" else 1

    @property
    def stage_widths(self) -> tuple[int, ...]:
        return tuple(width * self.expansion for width in self.stage_channels)


@dataclass(frozen=True)
class HGStageSpec:
    """One stage of HGNetv2: ``blocks`` blocks of ``layers`` convolutions whose outputs are all concatenated."""

    mid_channels: int
    out_channels: int
    blocks: int
    downsample: bool  # a strided depthwise 3x3 before the blocks
    light: bool  # a layer is 1x1 + depthwise k x k in place of one k x k convolution
    kernel: int
    layers: int = 6

    def __post_init__(self) -> None:
        for field in ("mid_channels", "out_channels", "blocks", "layers"):
            require(getattr(self, field) >= 1, self, field, "at least 1")
        require(self.out_channels % 2 == 0, self, "out_channels", "an even width (the squeeze halves it)")
        require(self.kernel >= 1 and self.kernel % 2 == 1, self, "kernel", "an odd size")


def _stages(*sizes: tuple[int, int, int]) -> tuple[HGStageSpec, ...]:
    """The stages of an official size from (mid_channels, out_channels, blocks) each."""
    return tuple(
        HGStageSpec(mid, out, blocks, downsample=i > 0, light=i > 1, kernel=5 if i > 1 else 3)
        for i, (mid, out, blocks) in enumerate(sizes)
    )


@dataclass(frozen=True)
class HGNetv2Spec(_Backbone):
    """PP-HGNetV2 as RT-DETR uses it; the default is size L. No learnable affine blocks, as shipped."""

    kind: str = "hgnetv2"
    stem_channels: tuple[int, int] = (32, 48)  # inside the stem, and out of it
    stages: tuple[HGStageSpec, ...] = _stages((48, 128, 1), (96, 512, 1), (192, 1024, 3), (384, 2048, 1))
    return_idx: tuple[int, ...] = (1, 2, 3)
    freeze_at: int = 0
    freeze_norm: bool = True

    def __post_init__(self) -> None:
        require_choice(self, "kind", ("hgnetv2",))
        _require_widths(self, "stem_channels", 2, "2 widths of at least 1")
        require(self.stem_channels[0] % 2 == 0, self, "stem_channels", "an even first width (one branch halves it)")
        require(len(self.stages) == 4, self, "stages", "4 stages")
        strided = [stage.downsample for stage in self.stages] == [False, True, True, True]
        require(strided, self, "stages", "downsample false, true, true, true (strides 4, 8, 16, 32)")
        super().__post_init__()

    @property
    def stage_widths(self) -> tuple[int, ...]:
        return tuple(stage.out_channels for stage in self.stages)


HGNETV2_SIZES = {
    "L": HGNetv2Spec(),
    "X": HGNetv2Spec(
        stem_channels=(32, 64), stages=_stages((64, 128, 1), (128, 512, 2), (256, 1024, 5), (512, 2048, 2))
    ),
    "H": HGNetv2Spec(
        stem_channels=(48, 96), stages=_stages((96, 192, 2), (192, 512, 3), (384, 1024, 6), (768, 2048, 3))
    ),
}


@dataclass(frozen=True)
class DLASpec(_Backbone):
    """Deep Layer Aggregation (Yu et al., arXiv 1707.06484); the default is DLA-34.

    Levels 0 and 1 are plain convolutions (strides 1 and 2) and count as the stem; levels 2 to 5 are trees
    with strides 4, 8, 16, 32: stages 0 to 3 of ``return_idx``.
    """

    kind: str = "dla"
    levels: tuple[int, ...] = (1, 1, 1, 2, 2, 1)  # convolutions of levels 0, 1; depth of the trees after them
    channels: tuple[int, ...] = (16, 32, 64, 128, 256, 512)
    return_idx: tuple[int, ...] = (1, 2, 3)
    freeze_at: int = -1
    freeze_norm: bool = False

    def __post_init__(self) -> None:
        require_choice(self, "kind", ("dla",))
        _require_widths(self, "levels", 6, "6 depths of at least 1")
        _require_widths(self, "channels", 6, "6 widths of at least 1")
        super().__post_init__()

    @property
    def stage_widths(self) -> tuple[int, ...]:
        return self.channels[2:]


@dataclass(frozen=True)
class RegNetSpec(_Backbone):
    """RegNetY (Radosavovic et al., arXiv 2003.13678); the default is 4.0GF, ``facebook/regnet-y-040``."""

    kind: str = "regnet"
    stem_channels: int = 32
    depths: tuple[int, ...] = (2, 6, 12, 2)  # layers per stage
    widths: tuple[int, ...] = (128, 192, 512, 1088)
    group_width: int = 64  # channels in a group of the 3x3 convolutions
    return_idx: tuple[int, ...] = (1, 2, 3)
    freeze_at: int = -1
    freeze_norm: bool = False

    def __post_init__(self) -> None:
        require_choice(self, "kind", ("regnet",))
        require(self.stem_channels >= 3, self, "stem_channels", "at least 3 (a quarter of it is squeezed to)")
        require(self.group_width >= 1, self, "group_width", "at least 1")
        _require_widths(self, "depths", 4, "4 counts of at least 1")
        _require_widths(self, "widths", 4, "4 widths of at least 1")
        whole = all(width % self.group_width == 0 for width in self.widths)
        require(whole, self, "widths", f"multiples of group_width {self.group_width}")
        super().__post_init__()

    @property
    def stage_widths(self) -> tuple[int, ...]:
        return self.widths


BackboneSpec = PResNetSpec | HGNetv2Spec | DLASpec | RegNetSpec
