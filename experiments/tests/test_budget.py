"""The settings of a run, and that every departure from the official ones is said."""

from dataclasses import replace

import pytest

from experiments.budget import CPU, resolve_spec
from experiments.deviations import ALWAYS, TRAIN_IMAGES, deviations
from frameworks.spec import preset

OFFICIAL = preset("rtdetr_r18vd")


def test_a_gpu_gets_the_official_settings() -> None:
    spec = resolve_spec(OFFICIAL, "cuda", subset=50)
    assert spec == OFFICIAL
    assert deviations(OFFICIAL, spec, train_images=TRAIN_IMAGES) == list(ALWAYS)


def test_a_cpu_gets_its_budget_and_each_part_of_it_is_said() -> None:
    spec = resolve_spec(OFFICIAL, "cpu", subset=50)
    assert spec.model == OFFICIAL.model and spec.criterion == OFFICIAL.criterion
    assert (spec.data.image_size, spec.data.batch_size) == ((CPU.image_size,) * 2, CPU.batch_size)
    assert {group.lr for group in spec.recipe.groups} == {CPU.lr}
    said = deviations(OFFICIAL, spec, train_images=50)
    assert f"`recipe.epochs` is {CPU.epochs} instead of 72" in said
    assert f"`recipe.groups[0].lr` is {CPU.lr:g} instead of 1e-05" in said
    assert f"`data.image_size[1]` is {CPU.image_size} instead of 640" in said
    assert f"`data.batch_size` is {CPU.batch_size} instead of 16" in said
    assert "50 training images instead of the 118,287 of COCO train2017" in said


def test_what_was_asked_for_goes_before_the_budget() -> None:
    spec = resolve_spec(OFFICIAL, "cpu", subset=50, epochs=100, image_size=320, batch_size=10)
    assert (spec.recipe.epochs, spec.data.image_size, spec.data.batch_size) == (100, (320, 320), 10)


def test_a_default_batch_is_one_that_the_subset_fills() -> None:
    assert resolve_spec(OFFICIAL, "cuda", subset=7).data.batch_size == 7


def test_a_preset_below_the_budget_keeps_its_size() -> None:
    tiny = preset("tiny")
    assert resolve_spec(tiny, "cpu", subset=50).data == tiny.data


@pytest.mark.parametrize("change", [{"clip_max_norm": 0.5}, {"betas": (0.9, 0.99)}, {"milestones": (3, 4)}])
def test_any_other_field_that_differs_is_said_too(change: dict) -> None:
    resolved = replace(OFFICIAL, recipe=replace(OFFICIAL.recipe, **change))
    said = [line for line in deviations(OFFICIAL, resolved, train_images=TRAIN_IMAGES) if line not in ALWAYS]
    assert len(said) == 1 and next(iter(change)) in said[0]
