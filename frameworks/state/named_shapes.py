"""Names and shapes of a convolution and the batch norm after it, in PyTorch's layout."""

from collections.abc import Iterable, Iterator

Shape = tuple[int, ...]
Named = Iterator[tuple[str, Shape]]  # (canonical name, shape) pairs in the order of the official state

COUNTER = "num_batches_tracked"


def conv_norm(
    name: str,
    channels_in: int,
    channels_out: int,
    kernel: int,
    *,
    groups: int = 1,
    conv: str = "conv",
    norm: str = "norm",
) -> Named:
    """The state of a square convolution without bias, ``name.conv``, and of its batch norm, ``name.norm``.

    The convolution's weight is [channels_out, channels_in / groups, kernel, kernel]; the norm has affine
    parameters, running statistics and a counter.
    """
    yield f"{name}.{conv}.weight", (channels_out, channels_in // groups, kernel, kernel)
    for leaf in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{norm}.{leaf}", (channels_out,)
    yield f"{name}.{norm}.{COUNTER}", ()


def dashed(numbers: Iterable[int]) -> str:
    """Numbers as a size is written, such as ``2-2-2-2``."""
    return "-".join(map(str, numbers))
