"""Freezes a backbone's norms (``freeze_norm``) or its stem and first stages (``freeze_at``)."""

from collections.abc import Iterable

from torch import nn

from frameworks.torch_rtdetr.layers import BatchNorm2d, FrozenBatchNorm2d


def batch_norm(channels: int, frozen: bool) -> nn.Module:
    """A batch norm over ``channels`` channels; ``frozen``: with constant statistics and parameters."""
    return FrozenBatchNorm2d(channels) if frozen else BatchNorm2d(channels)


def freeze(stem: Iterable[nn.Module], stages: Iterable[nn.Module], freeze_at: int) -> None:
    """Stop the gradients of the stem and the first ``freeze_at`` stages; -1 freezes nothing.

    Norms that ``freeze_norm`` does not freeze still update their statistics, as in the official model.
    """
    if freeze_at < 0:
        return
    for module in [*stem, *list(stages)[:freeze_at]]:
        for parameter in module.parameters():
            parameter.requires_grad_(False)
