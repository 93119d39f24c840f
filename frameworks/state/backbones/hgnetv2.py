"""Facts of PP-HGNetV2: names and shapes of its state, stem and stages, labels."""

from functools import partial

from frameworks.config.backbones import HGNETV2_SIZES, HGNetv2Spec, HGStageSpec
from frameworks.state.named_shapes import Named, conv_norm, dashed

STEM: tuple[str, ...] = ("backbone.stem",)
STAGES = tuple(f"backbone.stages.{i}" for i in range(4))
KAIMING_FAN: str = "in"  # Kaiming initialisation by the inputs of an output

_conv_bn = partial(conv_norm, norm="bn")


def shapes(spec: HGNetv2Spec) -> Named:
    """Every entry of the backbone's state."""
    a, b = spec.stem_channels
    yield from _conv_bn("backbone.stem.stem1", 3, a, 3)
    # The 2x2 convolutions stand behind a padding: one level deeper in the names.
    yield from _conv_bn("backbone.stem.stem2a", a, a // 2, 2, conv="conv.1")
    yield from _conv_bn("backbone.stem.stem2b", a // 2, a, 2, conv="conv.1")
    yield from _conv_bn("backbone.stem.stem3", 2 * a, a, 3)
    yield from _conv_bn("backbone.stem.stem4", a, b, 1)
    channels_in = b
    for name, stage in zip(STAGES, spec.stages, strict=True):
        if stage.downsample:
            yield from _conv_bn(f"{name}.downsample", channels_in, channels_in, 3, groups=channels_in)
        for block in range(stage.blocks):
            yield from _block(f"{name}.blocks.{block}", stage, channels_in)
            channels_in = stage.out_channels


def _block(name: str, stage: HGStageSpec, channels_in: int) -> Named:
    mid, kernel = stage.mid_channels, stage.kernel
    for i in range(stage.layers):
        width, layer = channels_in if i == 0 else mid, f"{name}.layers.{i}"
        if stage.light:
            yield from _conv_bn(f"{layer}.conv1", width, mid, 1)
            yield from _conv_bn(f"{layer}.conv2", mid, mid, kernel, groups=mid)
        else:
            yield from _conv_bn(layer, width, mid, kernel)
    total, half = channels_in + stage.layers * mid, stage.out_channels // 2
    yield from _conv_bn(f"{name}.aggregation_squeeze_conv", total, half, 1)
    yield from _conv_bn(f"{name}.aggregation_excitation_conv", half, stage.out_channels, 1)


def depths(spec: HGNetv2Spec) -> str:
    """Blocks per stage, as in ``1-1-3-1``."""
    return dashed(stage.blocks for stage in spec.stages)


def label(spec: HGNetv2Spec) -> str:
    """The name in papers, such as ``HGNetv2-L``; ``HGNetv2`` for a size of one's own."""
    sizes = [name for name, size in HGNETV2_SIZES.items() if size.stages == spec.stages]
    return "-".join(["HGNetv2", *sizes])
