"""Facts of PResNet-vd: names and shapes of its state, stem and stages, labels."""

from frameworks.config.backbones import PResNetSpec
from frameworks.state.named_shapes import Named, conv_norm, dashed

STEM: tuple[str, ...] = ("backbone.conv1",)
STAGES = tuple(f"backbone.res_layers.{i}" for i in range(4))
KAIMING_FAN: str = ""  # PyTorch's default initialisation


def shapes(spec: PResNetSpec) -> Named:
    """Every entry of the backbone's state."""
    stem = (3, *spec.stem_channels)
    for i in range(3):
        yield from conv_norm(f"{STEM[0]}.conv1_{i + 1}", stem[i], stem[i + 1], 3)
    channels_in = stem[-1]
    for stage, (width, blocks) in enumerate(zip(spec.stage_channels, spec.blocks, strict=True)):
        for block in range(blocks):
            name = f"{STAGES[stage]}.blocks.{block}"
            channels_out = width * spec.expansion
            if block == 0:
                # With stride 2 the shortcut is (pool, conv): one level deeper in the names.
                short = f"{name}.short" if stage == 0 else f"{name}.short.conv"
                yield from conv_norm(short, channels_in, channels_out, 1)
            kernels = (3, 3) if spec.block == "basic" else (1, 3, 1)
            widths = [channels_in, *[width] * (len(kernels) - 1), channels_out]
            for i, kernel in enumerate(kernels):
                yield from conv_norm(f"{name}.branch2{'abc'[i]}", widths[i], widths[i + 1], kernel)
            channels_in = channels_out


def depths(spec: PResNetSpec) -> str:
    """Kind of block and blocks per stage, as in ``basic 2-2-2-2``."""
    return f"{spec.block} {dashed(spec.blocks)}"


def label(spec: PResNetSpec) -> str:
    """The name in papers, such as ``ResNet-50-vd``: convolutions of all blocks, the stem and the classifier."""
    convolutions = 3 if spec.block == "bottleneck" else 2
    return f"ResNet-{convolutions * sum(spec.blocks) + 2}-vd"
