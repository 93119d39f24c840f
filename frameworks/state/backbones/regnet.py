"""Facts of RegNetY: names and shapes of its state, stem and stages, labels."""

from functools import partial

from frameworks.config.backbones import RegNetSpec
from frameworks.state.named_shapes import Named, conv_norm, dashed

STEM: tuple[str, ...] = ("backbone.model.embedder",)
STAGES = tuple(f"backbone.model.encoder.stages.{i}" for i in range(4))
KAIMING_FAN: str = "out"  # Kaiming initialisation by the outputs of an input

_conv_norm = partial(conv_norm, conv="convolution", norm="normalization")


def shapes(spec: RegNetSpec) -> Named:
    """Every entry of the backbone's state."""
    yield from _conv_norm(f"{STEM[0]}.embedder", 3, spec.stem_channels, 3)
    channels_in = spec.stem_channels
    for stage, width, depth in zip(STAGES, spec.widths, spec.depths, strict=True):
        for i in range(depth):
            name = f"{stage}.layers.{i}"
            if i == 0:
                yield from _conv_norm(f"{name}.shortcut", channels_in, width, 1)
            yield from _conv_norm(f"{name}.layer.0", channels_in, width, 1)
            yield from _conv_norm(f"{name}.layer.1", width, width, 3, groups=width // spec.group_width)
            squeezed = round(channels_in / 4)
            for leaf, a, b in (("0", width, squeezed), ("2", squeezed, width)):
                yield f"{name}.layer.2.attention.{leaf}.weight", (b, a, 1, 1)
                yield f"{name}.layer.2.attention.{leaf}.bias", (b,)
            yield from _conv_norm(f"{name}.layer.3", width, width, 1)
            channels_in = width


def depths(spec: RegNetSpec) -> str:
    """Layers per stage, as in ``2-6-12-2``."""
    return dashed(spec.depths)


def label(spec: RegNetSpec) -> str:
    """The name in papers, ``RegNetY-4.0GF``; ``RegNetY`` for a size of one's own."""
    size = RegNetSpec()
    is_official = (spec.depths, spec.widths, spec.group_width) == (size.depths, size.widths, size.group_width)
    return "RegNetY-4.0GF" if is_official else "RegNetY"
