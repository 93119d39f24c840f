"""The four backbone families. ``ModelSpec.backbone`` holds one of them; ``kind`` says which in plain data.

All share ``return_idx`` (stages 0 to 3 with strides 4, 8, 16, 32), ``freeze_at`` and ``freeze_norm``.
"""

from dataclasses import dataclass

from frameworks.config.validation import require, require_choice


@dataclass(frozen=True)
class PResNetSpec:
    """PResNet-vd: ResNet with a three-convolution stem and average-pooled shortcuts (variant d)."""

    kind: str = "presnet"
    block: str = "basic"  # "basic" (expansion 1) or "bottleneck" (expansion 4)
    blocks: tuple[int, ...] = (2, 2, 2, 2)  # blocks per stage
    stem_channels: tuple[int, int, int] = (32, 32, 64)
    stage_channels: tuple[int, ...] = (64, 128, 256, 512)  # before expansion
    return_idx: tuple[int, ...] = (1, 2, 3)  # stages handed to the encoder
    freeze_at: int = -1  # -1: nothing; 0: the stem; k: the stem and the first k stages
    freeze_norm: bool = False  # batch norm with constant statistics and constant affine parameters

    def __post_init__(self) -> None:
        require_choice(self, "kind", ("presnet",))
        require_choice(self, "block", ("basic", "bottleneck"))
        _require_widths(self, "stage_channels", 4, "4 widths of at least 1 (strides 4, 8, 16, 32)")
        _require_widths(self, "blocks", 4, "4 counts of at least 1")
        _require_widths(self, "stem_channels", 3, "3 widths of at least 1")
        _require_stages(self)

    @property
    def expansion(self) -> int:
        return 4 if self.block == "bottleneck" else 1

    @property
    def out_channels(self) -> tuple[int, ...]:
        return tuple(self.stage_channels[i] * self.expansion for i in self.return_idx)

    @property
    def out_strides(self) -> tuple[int, ...]:
        return _strides(self.return_idx)


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


HGNETV2_L_STAGES = (
    HGStageSpec(48, 128, 1, downsample=False, light=False, kernel=3),
    HGStageSpec(96, 512, 1, downsample=True, light=False, kernel=3),
    HGStageSpec(192, 1024, 3, downsample=True, light=True, kernel=5),
    HGStageSpec(384, 2048, 1, downsample=True, light=True, kernel=5),
)


@dataclass(frozen=True)
class HGNetv2Spec:
    """PP-HGNetV2 as RT-DETR uses it; the default is size L. No learnable affine blocks, as shipped."""

    kind: str = "hgnetv2"
    stem_channels: tuple[int, int] = (32, 48)  # inside the stem, and out of it
    stages: tuple[HGStageSpec, ...] = HGNETV2_L_STAGES
    return_idx: tuple[int, ...] = (1, 2, 3)
    freeze_at: int = 0  # as in PResNetSpec
    freeze_norm: bool = True

    def __post_init__(self) -> None:
        require_choice(self, "kind", ("hgnetv2",))
        _require_widths(self, "stem_channels", 2, "2 widths of at least 1")
        require(self.stem_channels[0] % 2 == 0, self, "stem_channels", "an even first width (one branch halves it)")
        require(len(self.stages) == 4, self, "stages", "4 stages")
        require(
            [stage.downsample for stage in self.stages] == [False, True, True, True],
            self, "stages", "downsample false, true, true, true (strides 4, 8, 16, 32)",
        )  # fmt: skip
        _require_stages(self)

    @property
    def out_channels(self) -> tuple[int, ...]:
        return tuple(self.stages[i].out_channels for i in self.return_idx)

    @property
    def out_strides(self) -> tuple[int, ...]:
        return _strides(self.return_idx)


@dataclass(frozen=True)
class DLASpec:
    """Deep Layer Aggregation (Yu et al., arXiv 1707.06484); the default is DLA-34.

    Levels 0 and 1 are plain convolutions (strides 1 and 2) and count as the stem; levels 2 to 5 are trees
    with strides 4, 8, 16, 32: stages 0 to 3 of ``return_idx``.
    """

    kind: str = "dla"
    levels: tuple[int, ...] = (1, 1, 1, 2, 2, 1)  # convolutions of levels 0, 1; depth of the trees after them
    channels: tuple[int, ...] = (16, 32, 64, 128, 256, 512)
    return_idx: tuple[int, ...] = (1, 2, 3)
    freeze_at: int = -1  # as in PResNetSpec
    freeze_norm: bool = False

    def __post_init__(self) -> None:
        require_choice(self, "kind", ("dla",))
        _require_widths(self, "levels", 6, "6 depths of at least 1")
        _require_widths(self, "channels", 6, "6 widths of at least 1")
        _require_stages(self)

    @property
    def out_channels(self) -> tuple[int, ...]:
        return tuple(self.channels[i + 2] for i in self.return_idx)

    @property
    def out_strides(self) -> tuple[int, ...]:
        return _strides(self.return_idx)


@dataclass(frozen=True)
class RegNetSpec:
    """RegNetY (Radosavovic et al., arXiv 2003.13678); the default is 4.0GF, ``facebook/regnet-y-040``."""

    kind: str = "regnet"
    stem_channels: int = 32
    depths: tuple[int, ...] = (2, 6, 12, 2)  # layers per stage
    widths: tuple[int, ...] = (128, 192, 512, 1088)
    group_width: int = 64  # channels in a group of the 3x3 convolutions
    return_idx: tuple[int, ...] = (1, 2, 3)
    freeze_at: int = -1  # as in PResNetSpec
    freeze_norm: bool = False

    def __post_init__(self) -> None:
        require_choice(self, "kind", ("regnet",))
        require(self.stem_channels >= 3, self, "stem_channels", "at least 3 (a quarter of it is squeezed to)")
        require(self.group_width >= 1, self, "group_width", "at least 1")
        _require_widths(self, "depths", 4, "4 counts of at least 1")
        _require_widths(self, "widths", 4, "4 widths of at least 1")
        require(
            all(width % self.group_width == 0 for width in self.widths),
            self, "widths", f"multiples of group_width {self.group_width}",
        )  # fmt: skip
        _require_stages(self)

    @property
    def out_channels(self) -> tuple[int, ...]:
        return tuple(self.widths[i] for i in self.return_idx)

    @property
    def out_strides(self) -> tuple[int, ...]:
        return _strides(self.return_idx)


BackboneSpec = PResNetSpec | HGNetv2Spec | DLASpec | RegNetSpec


def _strides(return_idx: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(4 * 2**i for i in return_idx)


def _require_widths(spec: object, field: str, count: int, expected: str) -> None:
    values = getattr(spec, field)
    require(len(values) == count and min(values) >= 1, spec, field, expected)


def _require_stages(spec: BackboneSpec) -> None:
    """The three fields that every backbone has."""
    require(
        len(spec.return_idx) > 0 and list(spec.return_idx) == sorted(set(spec.return_idx)),
        spec, "return_idx", "increasing stage numbers",
    )  # fmt: skip
    require(all(0 <= i < 4 for i in spec.return_idx), spec, "return_idx", "stages from 0 to 3")
    require(-1 <= spec.freeze_at <= 4, spec, "freeze_at", "-1 (nothing) to 4 (stem and all stages)")
