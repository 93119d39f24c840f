"""Facts of DLA: names and shapes of its state, stem and stages, labels."""

from frameworks.config.backbones import DLASpec
from frameworks.state.named_shapes import Named, conv_norm, dashed

STEM: tuple[str, ...] = ("backbone.model.base_layer", "backbone.model.level0", "backbone.model.level1")
STAGES = tuple(f"backbone.model.level{i}" for i in range(2, 6))
KAIMING_FAN: str = "out"  # Kaiming initialisation by the outputs of an input


def shapes(spec: DLASpec) -> Named:
    """Every entry of the backbone's state."""
    channels, levels = spec.channels, spec.levels
    yield from _sequence(STEM[0], 3, channels[0], 7, 1)
    yield from _sequence(STEM[1], channels[0], channels[0], 3, levels[0])
    yield from _sequence(STEM[2], channels[0], channels[1], 3, levels[1])
    for i, name in enumerate(STAGES, start=2):
        root_extra = channels[i - 1] if i > 2 else 0  # from level 3 on, a root sees the level's input too
        yield from _tree(name, levels[i], channels[i - 1], channels[i], root_extra)


def _sequence(name: str, channels_in: int, channels_out: int, kernel: int, count: int) -> Named:
    for i in range(0, 3 * count, 3):  # (convolution, norm, ReLU) each
        yield from conv_norm(
            name, channels_in if i == 0 else channels_out, channels_out, kernel, conv=f"{i}", norm=f"{i + 1}"
        )


def _tree(name: str, depth: int, channels_in: int, channels_out: int, root_extra: int) -> Named:
    if depth > 1:
        yield from _tree(f"{name}.tree1", depth - 1, channels_in, channels_out, 0)
        yield from _tree(f"{name}.tree2", depth - 1, channels_out, channels_out, root_extra + channels_out)
        return
    for block, width in (("tree1", channels_in), ("tree2", channels_out)):
        yield from conv_norm(f"{name}.{block}", width, channels_out, 3, conv="conv1", norm="bn1")
        yield from conv_norm(f"{name}.{block}", channels_out, channels_out, 3, conv="conv2", norm="bn2")
    yield from conv_norm(f"{name}.root", 2 * channels_out + root_extra, channels_out, 1, norm="bn")
    if channels_in != channels_out:
        yield from _sequence(f"{name}.project", channels_in, channels_out, 1, 1)


def depths(spec: DLASpec) -> str:
    """Convolutions of levels 0 and 1, and depths of the trees after them, as in ``1-1-1-2-2-1``."""
    return dashed(spec.levels)


def label(spec: DLASpec) -> str:
    """The name in papers, such as ``DLA-34``, by the number of convolutions and the classifier."""
    first, second, *trees = spec.levels
    in_trees = sum(5 * 2 ** (depth - 1) for depth in trees)  # two blocks of two, and the root, for each leaf
    return f"DLA-{1 + first + second + in_trees + 1}"
