"""Canonical names and shapes of convolutions and the batch norms after them, in PyTorch's layout."""

from collections.abc import Iterator

Shape = tuple[int, ...]
Named = Iterator[tuple[str, Shape]]


def convolution(name: str, channels_in: int, channels_out: int, kernel: int, *, groups: int = 1) -> Named:
    """The weight of a square convolution without bias: [out, in / groups, kernel, kernel]."""
    yield f"{name}.weight", (channels_out, channels_in // groups, kernel, kernel)


def batch_norm(name: str, channels: int, *, frozen: bool = False) -> Named:
    """Affine parameters, running statistics, counter; the official FrozenBatchNorm2d has no counter."""
    for leaf in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{leaf}", (channels,)
    if not frozen:
        yield f"{name}.num_batches_tracked", ()


def conv_norm(name: str, channels_in: int, channels_out: int, kernel: int, *, frozen: bool = False) -> Named:
    """The twins' ConvNorm: children ``conv`` and ``norm``."""
    yield from convolution(f"{name}.conv", channels_in, channels_out, kernel)
    yield from batch_norm(f"{name}.norm", channels_out, frozen=frozen)
