"""Schedules as plain numbers, against closed forms and PyTorch's own schedulers."""

import math
from dataclasses import replace

import pytest
import torch

from frameworks.config import ParameterGroup, RecipeSpec
from frameworks.shared.schedules import ema_decay, learning_rates, part_of, updates_per_epoch

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


def library(make, steps: int) -> list[list[float]]:
    """Rates of a scheduler of PyTorch over RECIPE's groups, before each of its steps."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": group.lr} for group in RECIPE.groups]
    optimizer = torch.optim.SGD(groups)
    scheduler, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr())
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("by", ["epoch", "step"])
@pytest.mark.parametrize("length", [7, 4, 1])
def test_cosine_is_that_of_cosine_annealing_lr(by, length):
    """Also beyond its end, where it rises again; by steps of 3 updates an epoch, or by epochs."""
    recipe = replace(RECIPE, schedule="cosine", schedule_by=by, schedule_length=length, min_lr=2e-6, epochs=9)
    each = 3 if by == "step" else 1
    total = length * each
    wanted = library(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, total, eta_min=2e-6), 2 * total)
    for at, rates in enumerate(wanted):
        found = learning_rates(recipe, at if by == "step" else 0, at // each, each)
        assert found == pytest.approx(rates, rel=1e-12)


@pytest.mark.parametrize(("length", "share"), [(10, 0.3), (7, 0.25), (3, 0.3), (5, 1.0), (4, 0.0), (1, 0.3)])
def test_one_cycle_is_that_of_one_cycle_lr(length, share):
    recipe = replace(RECIPE, schedule="onecycle", schedule_length=length, pct_start=share, div_factor=10.0)
    tops = [group.lr for group in RECIPE.groups]
    wanted = library(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o, tops, length, pct_start=share, div_factor=10, cycle_momentum=False
        ),
        length - 1,
    )
    for epoch, rates in enumerate(wanted):
        assert learning_rates(recipe, 0, epoch) == pytest.approx(rates, rel=1e-12)
    assert learning_rates(recipe, 0, length - 1) == learning_rates(recipe, 0, length + 5), "it stays at its end"


def test_a_schedule_without_a_length_has_all_epochs():
    recipe = replace(RECIPE, schedule="cosine", epochs=8)
    assert learning_rates(recipe, 0, 4) == pytest.approx([0.5e-5, 0.5e-4])
    by_step = replace(recipe, schedule_by="step")
    assert learning_rates(by_step, 12, 4, updates_in_epoch=3) == pytest.approx([0.5e-5, 0.5e-4])


def test_warm_up_multiplies_every_schedule():
    for schedule in ("cosine", "onecycle"):
        recipe = replace(RECIPE, schedule=schedule, epochs=10)
        warm = learning_rates(replace(recipe, warmup_steps=10), 4, 3)
        assert warm == pytest.approx([rate / 2 for rate in learning_rates(recipe, 4, 3)])


def test_frozen_groups_keep_the_rate_zero():
    groups = (ParameterGroup("backbone", lr=0.0, weight_decay=0.0), RECIPE.groups[1])
    for schedule in ("multistep", "cosine", "onecycle"):
        recipe = replace(RECIPE, groups=groups, schedule=schedule, min_lr=1e-6)
        assert learning_rates(recipe, 0, 5)[0] == 0


def test_batches_accumulate_within_an_epoch():
    """7 batches an epoch, 3 an update: the third update of an epoch has the one that is left."""
    recipe = replace(RECIPE, accumulate=3)
    assert updates_per_epoch(recipe, 7) == 3
    parts = [part_of(recipe, step, 7) for step in range(14)]
    assert [part.update for part in parts] == [0, 0, 0, 1, 1, 1, 2, 3, 3, 3, 4, 4, 4, 5]
    assert [part.is_last for part in parts[:7]] == [False, False, True, False, False, True, True]
    assert [part.share for part in parts[:7]] == [1 / 3] * 6 + [1]
    assert [part_of(RECIPE, step, 7) for step in (0, 9)] == [(0, 1.0, True), (9, 1.0, True)]


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
