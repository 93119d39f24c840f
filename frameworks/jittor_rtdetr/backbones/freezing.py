"""What a backbone can freeze: all its norms (``freeze_norm``), its stem and first stages (``freeze_at``)."""

from collections.abc import Iterable

from jittor import nn

from frameworks.jittor_rtdetr.layers import BatchNorm2d, FrozenBatchNorm2d


def batch_norm(channels: int, frozen: bool) -> nn.Module:
    """A batch norm that learns, or one that is constant."""
    return FrozenBatchNorm2d(channels) if frozen else BatchNorm2d(channels)


def freeze(stem: Iterable[nn.Module], stages: Iterable[nn.Module], freeze_at: int) -> None:
    """No gradient for the parameters of the stem and the first ``freeze_at`` stages; -1 freezes nothing.

    Norms that are not frozen themselves still update their statistics, as in the official model.
    """
    if freeze_at < 0:
        return
    for module in [*stem, *list(stages)[:freeze_at]]:
        for parameter in module.parameters():
            parameter.stop_grad()
