"""Learning-rate and EMA-decay schedules as plain numbers, shared by both twins."""

import math

from frameworks.config import RecipeSpec


def learning_rates(recipe: RecipeSpec, step: int, epoch: int) -> list[float]:
    """Learning rate of every parameter group at a global ``step`` and ``epoch`` (both 0-based).

    Linear warm-up: factor (step + 1) / warmup_steps, so the first update already moves.
    MultiStepLR: multiplied by gamma at each milestone (in epochs) that has been reached.
    """
    warmup = min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    drops = sum(epoch >= milestone for milestone in recipe.milestones)
    return [group.lr * warmup * recipe.gamma**drops for group in recipe.groups]


def ema_decay(recipe: RecipeSpec, update: int) -> float:
    """Decay of the ``update``-th EMA update, counted from 1: decay * (1 - exp(-update / warmup)).

    Official ModelEMA; the first updates follow the model almost at once.
    """
    return recipe.ema_decay * (1.0 - math.exp(-update / recipe.ema_warmup_steps))
