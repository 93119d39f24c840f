"""Schedules of the learning rates and of the EMA decay, as plain numbers for every framework."""

import math
from typing import NamedTuple

from frameworks.config import RecipeSpec


class Part(NamedTuple):
    """A batch in an update: the number of the update from 0, the share of its gradient, whether it is the last."""

    update: int
    share: float
    is_last: bool


def part_of(recipe: RecipeSpec, step: int, steps_per_epoch: int) -> Part:
    """The part of a batch, by its global number ``step`` from 0.

    ``accumulate`` batches make an update; the last one of an epoch has the batches that are left.
    """
    epoch, place = divmod(step, steps_per_epoch)
    first = place - place % recipe.accumulate
    count = min(recipe.accumulate, steps_per_epoch - first)
    update = epoch * updates_per_epoch(recipe, steps_per_epoch) + place // recipe.accumulate
    return Part(update, 1 / count, place == first + count - 1)


def updates_per_epoch(recipe: RecipeSpec, steps_per_epoch: int) -> int:
    """Number of updates in an epoch of so many batches."""
    return math.ceil(steps_per_epoch / recipe.accumulate)


def learning_rates(recipe: RecipeSpec, update: int, epoch: int, updates_in_epoch: int = 1) -> list[float]:
    """Learning rate of every parameter group at a global ``update`` and ``epoch`` (both from 0).

    The schedule counts from the first update on, and linear warm-up multiplies it by (update + 1) / warmup_steps,
    so that the first update is not zero.

    Args:
        updates_in_epoch: turns epochs into updates for a schedule that moves with every update.
    """
    warmup = min(1.0, (update + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    if recipe.schedule == "multistep":
        drops = sum(epoch >= milestone for milestone in recipe.milestones)
        return [group.lr * warmup * recipe.gamma**drops for group in recipe.groups]
    by_step = recipe.schedule_by == "step"
    length = (recipe.schedule_length or recipe.epochs) * (updates_in_epoch if by_step else 1)
    at, rate = (update if by_step else epoch), (_cosine if recipe.schedule == "cosine" else _one_cycle)
    return [rate(group.lr, recipe, at, length) * warmup if group.lr else 0.0 for group in recipe.groups]


def _cosine(lr: float, recipe: RecipeSpec, at: int, length: int) -> float:
    """CosineAnnealingLR: from the group's rate down to the least one in ``length``, then up again."""
    return _between(lr, recipe.min_lr, at / length)


def _one_cycle(top: float, recipe: RecipeSpec, at: int, length: int) -> float:
    """OneCycleLR: up to the top, then down to the end, where it stays; the last place is ``length - 1``."""
    start = top / recipe.div_factor
    turn, last = recipe.pct_start * length - 1, length - 1
    at = min(at, last)
    if at <= turn and turn > 0:
        return _between(start, top, at / turn)
    share = (at - turn) / (last - turn) if last > turn else 1.0
    return _between(top, start / recipe.final_div_factor, share)


def _between(a: float, b: float, share: float) -> float:
    """Half a cosine from ``a`` (share 0) to ``b`` (share 1)."""
    return b + (a - b) * (1 + math.cos(math.pi * share)) / 2


def ema_decay(recipe: RecipeSpec, update: int) -> float:
    """Decay of the ``update``-th EMA update, counted from 1: decay * (1 - exp(-update / warmup)).

    As the official ModelEMA: at first the average follows the model closely.
    """
    return recipe.ema_decay * (1.0 - math.exp(-update / recipe.ema_warmup_steps))
