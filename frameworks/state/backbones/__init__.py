"""BackboneSpec -> canonical names and shapes of the backbone, its stem and stages, and what of it is frozen.

All names start with ``backbone.``, as in the official ``state_dict``.
"""

from functools import cache

from frameworks.config import BackboneSpec, DLASpec, HGNetv2Spec, PResNetSpec, RegNetSpec
from frameworks.config.backbones import HGStageSpec
from frameworks.state.named_shapes import Named, batch_norm, conv_norm, convolution


def backbone_shapes(spec: BackboneSpec) -> Named:
    """Every entry of the backbone's state."""
    match spec:
        case PResNetSpec():
            yield from _presnet(spec)
        case HGNetv2Spec():
            yield from _hgnetv2(spec)
        case DLASpec():
            yield from _dla(spec)
        case RegNetSpec():
            yield from _regnet(spec)


def stem_and_stages(spec: BackboneSpec) -> tuple[list[str], list[str]]:
    """Module paths of the stem, in the order of the data flow, and of the 4 stages (strides 4, 8, 16, 32)."""
    match spec:
        case PResNetSpec():
            return ["backbone.conv1"], [f"backbone.res_layers.{i}" for i in range(4)]
        case HGNetv2Spec():
            return ["backbone.stem"], [f"backbone.stages.{i}" for i in range(4)]
        case DLASpec():
            stem = [f"backbone.model.{name}" for name in ("base_layer", "level0", "level1")]
            return stem, [f"backbone.model.level{i + 2}" for i in range(4)]
        case RegNetSpec():
            return ["backbone.model.embedder"], [f"backbone.model.encoder.stages.{i}" for i in range(4)]


def frozen_modules(spec: BackboneSpec) -> list[str]:
    """Module paths whose parameters ``freeze_at`` keeps constant: the stem and the first stages."""
    stem, stages = stem_and_stages(spec)
    return [*stem, *stages[: spec.freeze_at]] if spec.freeze_at >= 0 else []


@cache
def norm_modules(spec: BackboneSpec) -> frozenset[str]:
    """Module paths of every batch norm: the modules that hold running statistics."""
    leaf = ".running_mean"
    return frozenset(name.removesuffix(leaf) for name, _ in backbone_shapes(spec) if name.endswith(leaf))


def _presnet(spec: PResNetSpec) -> Named:
    frozen = spec.freeze_norm
    stem = (3, *spec.stem_channels)
    for i in range(3):
        yield from conv_norm(f"backbone.conv1.conv1_{i + 1}", stem[i], stem[i + 1], 3, frozen=frozen)
    channels_in = stem[-1]
    for stage, (width, blocks) in enumerate(zip(spec.stage_channels, spec.blocks, strict=True)):
        for block in range(blocks):
            name = f"backbone.res_layers.{stage}.blocks.{block}"
            channels_out = width * spec.expansion
            if block == 0:
                # With stride 2 the shortcut is (pool, conv): one level deeper in the names.
                short = f"{name}.short" if stage == 0 else f"{name}.short.conv"
                yield from conv_norm(short, channels_in, channels_out, 1, frozen=frozen)
            kernels = (3, 3) if spec.block == "basic" else (1, 3, 1)
            widths = [channels_in, *[width] * (len(kernels) - 1), channels_out]
            for i, kernel in enumerate(kernels):
                branch = f"{name}.branch2{'abc'[i]}"
                yield from conv_norm(branch, widths[i], widths[i + 1], kernel, frozen=frozen)
            channels_in = channels_out


def _hgnetv2(spec: HGNetv2Spec) -> Named:
    a, b = spec.stem_channels
    # The 2x2 convolutions stand behind a padding: one level deeper in the names.
    stem = (("1", "conv", 3, a, 3), ("2a", "conv.1", a, a // 2, 2), ("2b", "conv.1", a // 2, a, 2),
            ("3", "conv", 2 * a, a, 3), ("4", "conv", a, b, 1))  # fmt: skip
    for part, conv, channels_in, channels_out, kernel in stem:
        yield from convolution(f"backbone.stem.stem{part}.{conv}", channels_in, channels_out, kernel)
        yield from batch_norm(f"backbone.stem.stem{part}.bn", channels_out, frozen=spec.freeze_norm)
    channels_in = b
    for i, stage in enumerate(spec.stages):
        name = f"backbone.stages.{i}"
        if stage.downsample:
            yield from _conv_bn(
                f"{name}.downsample", channels_in, channels_in, 3, groups=channels_in, frozen=spec.freeze_norm
            )
        for block in range(stage.blocks):
            yield from _hg_block(f"{name}.blocks.{block}", stage, channels_in, spec.freeze_norm)
            channels_in = stage.out_channels


def _hg_block(name: str, stage: HGStageSpec, channels_in: int, frozen: bool) -> Named:
    mid, kernel = stage.mid_channels, stage.kernel
    for i in range(stage.layers):
        width, layer = channels_in if i == 0 else mid, f"{name}.layers.{i}"
        if stage.light:
            yield from _conv_bn(f"{layer}.conv1", width, mid, 1, frozen=frozen)
            yield from _conv_bn(f"{layer}.conv2", mid, mid, kernel, groups=mid, frozen=frozen)
        else:
            yield from _conv_bn(layer, width, mid, kernel, frozen=frozen)
    total, half = channels_in + stage.layers * mid, stage.out_channels // 2
    yield from _conv_bn(f"{name}.aggregation_squeeze_conv", total, half, 1, frozen=frozen)
    yield from _conv_bn(f"{name}.aggregation_excitation_conv", half, stage.out_channels, 1, frozen=frozen)


def _conv_bn(
    name: str, channels_in: int, channels_out: int, kernel: int, *, groups: int = 1, frozen: bool
) -> Named:
    yield from convolution(f"{name}.conv", channels_in, channels_out, kernel, groups=groups)
    yield from batch_norm(f"{name}.bn", channels_out, frozen=frozen)


def _dla(spec: DLASpec) -> Named:
    channels, frozen = spec.channels, spec.freeze_norm
    yield from _sequence("backbone.model.base_layer", 3, channels[0], 7, 1, frozen)
    yield from _sequence("backbone.model.level0", channels[0], channels[0], 3, spec.levels[0], frozen)
    yield from _sequence("backbone.model.level1", channels[0], channels[1], 3, spec.levels[1], frozen)
    for i in range(2, 6):
        root_extra = channels[i - 1] if i > 2 else 0  # from level 3 on a root sees the level's input too
        name = f"backbone.model.level{i}"
        yield from _tree(name, spec.levels[i], channels[i - 1], channels[i], root_extra, frozen)


def _sequence(name: str, channels_in: int, channels_out: int, kernel: int, count: int, frozen: bool) -> Named:
    for i in range(count):  # (convolution, norm, ReLU) each
        yield from convolution(f"{name}.{3 * i}", channels_in if i == 0 else channels_out, channels_out, kernel)
        yield from batch_norm(f"{name}.{3 * i + 1}", channels_out, frozen=frozen)


def _tree(name: str, depth: int, channels_in: int, channels_out: int, root_extra: int, frozen: bool) -> Named:
    if depth > 1:
        yield from _tree(f"{name}.tree1", depth - 1, channels_in, channels_out, 0, frozen)
        yield from _tree(f"{name}.tree2", depth - 1, channels_out, channels_out, root_extra + channels_out, frozen)
        return
    for block, width in (("tree1", channels_in), ("tree2", channels_out)):
        for i in (1, 2):
            yield from convolution(f"{name}.{block}.conv{i}", width if i == 1 else channels_out, channels_out, 3)
            yield from batch_norm(f"{name}.{block}.bn{i}", channels_out, frozen=frozen)
    yield from _conv_bn(f"{name}.root", 2 * channels_out + root_extra, channels_out, 1, frozen=frozen)
    if channels_in != channels_out:
        yield from _sequence(f"{name}.project", channels_in, channels_out, 1, 1, frozen)


def _regnet(spec: RegNetSpec) -> Named:
    frozen = spec.freeze_norm
    yield from _conv_normalization("backbone.model.embedder.embedder", 3, spec.stem_channels, 3, frozen=frozen)
    channels_in = spec.stem_channels
    for stage, (width, depth) in enumerate(zip(spec.widths, spec.depths, strict=True)):
        for i in range(depth):
            name = f"backbone.model.encoder.stages.{stage}.layers.{i}"
            if i == 0:
                yield from _conv_normalization(f"{name}.shortcut", channels_in, width, 1, frozen=frozen)
            yield from _conv_normalization(f"{name}.layer.0", channels_in, width, 1, frozen=frozen)
            groups = width // spec.group_width
            yield from _conv_normalization(f"{name}.layer.1", width, width, 3, groups=groups, frozen=frozen)
            squeezed = round(channels_in / 4)
            for leaf, a, b in (("0", width, squeezed), ("2", squeezed, width)):
                yield from convolution(f"{name}.layer.2.attention.{leaf}", a, b, 1)
                yield f"{name}.layer.2.attention.{leaf}.bias", (b,)
            yield from _conv_normalization(f"{name}.layer.3", width, width, 1, frozen=frozen)
            channels_in = width


def _conv_normalization(
    name: str, channels_in: int, channels_out: int, kernel: int, *, groups: int = 1, frozen: bool
) -> Named:
    yield from convolution(f"{name}.convolution", channels_in, channels_out, kernel, groups=groups)
    yield from batch_norm(f"{name}.normalization", channels_out, frozen=frozen)
