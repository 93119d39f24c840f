"""Schedules as plain numbers, against closed forms and PyTorch's own schedulers."""

import math
from dataclasses import replace

import pytest
import torch

from frameworks.config import ParameterGroup, RecipeSpec
from frameworks.shared.schedules import ema_decay, learning_rates

RECIPE = RecipeSpec(
    groups=(ParameterGroup("backbone", lr=1e-5, weight_decay=0.0), ParameterGroup("", lr=1e-4, weight_decay=1e-4))
)


def test_without_warm_up_every_step_has_the_base_rate():
    assert learning_rates(RECIPE, 0, 0) == [1e-5, 1e-4]
    assert learning_rates(RECIPE, 10**6, 999) == [1e-5, 1e-4]


@pytest.mark.parametrize(("step", "factor"), [(0, 1 / 2000), (1, 2 / 2000), (999, 0.5), (1999, 1.0), (5000, 1.0)])
def test_warm_up_is_linear_and_moves_at_once(step, factor):
    recipe = replace(RECIPE, warmup_steps=2000)
    assert learning_rates(recipe, step, 0) == pytest.approx([1e-5 * factor, 1e-4 * factor], rel=1e-15)


@pytest.mark.parametrize(("epoch", "drops"), [(0, 0), (29, 0), (30, 1), (39, 1), (40, 2), (100, 2)])
def test_milestones_multiply_by_gamma(epoch, drops):
    recipe = replace(RECIPE, milestones=(30, 40), gamma=0.1)
    assert learning_rates(recipe, 0, epoch) == pytest.approx([1e-5 * 0.1**drops, 1e-4 * 0.1**drops])


def test_milestones_are_those_of_multi_step_lr():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 5], gamma=0.3)
    recipe = replace(RECIPE, milestones=(2, 5), gamma=0.3)
    for epoch in range(8):
        assert learning_rates(recipe, 0, epoch)[1] == pytest.approx(scheduler.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        scheduler.step()


def test_warm_up_and_milestones_multiply():
    recipe = replace(RECIPE, warmup_steps=10, milestones=(1,), gamma=0.5)
    assert learning_rates(recipe, 4, 1) == pytest.approx([1e-5 * 0.25, 1e-4 * 0.25])


def test_average_follows_the_model_at_first():
    assert ema_decay(RECIPE, 1) == pytest.approx(0.0005, rel=1e-3)  # docs/pitfalls.md H.3
    assert ema_decay(RECIPE, 2000) == pytest.approx(0.9999 * (1 - 1 / math.e))
    assert ema_decay(RECIPE, 10**6) == pytest.approx(0.9999)


def test_average_decay_rises_and_stays_below_its_limit():
    decays = [ema_decay(RECIPE, update) for update in range(1, 20_000, 97)]
    assert decays == sorted(decays)
    assert all(0 < decay < RECIPE.ema_decay for decay in decays)
