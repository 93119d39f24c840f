"""Schedules of the learning rates and of the EMA decay, as plain numbers for every framework."""

import math

from frameworks.config import RecipeSpec


def learning_rates(recipe: RecipeSpec, step: int, epoch: int) -> list[float]:
    """Learning rate of every parameter group at a global ``step`` and ``epoch`` (both 0-based).

    Linear warm-up: factor (step + 1) / warmup_steps, so that the first update is not zero.
    MultiStepLR: multiplied by gamma at each milestone (in epochs) that has been reached.
    """
    warmup = min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    drops = sum(epoch >= milestone for milestone in recipe.milestones)
    return [group.lr * warmup * recipe.gamma**drops for group in recipe.groups]


def ema_decay(recipe: RecipeSpec, update: int) -> float:
    """Decay of the ``update``-th EMA update, counted from 1: decay * (1 - exp(-update / warmup)).

    As the official ModelEMA: at first the average follows the model closely.
    """
    return recipe.ema_decay * (1.0 - math.exp(-update / recipe.ema_warmup_steps))
