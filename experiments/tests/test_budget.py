"""The settings of a run, and that every departure from the official ones is said."""

from dataclasses import replace

import pytest

from experiments.runs.budget import CPU, resolve_spec
from experiments.runs.deviations import ALWAYS, TRAIN_IMAGES, deviations
from frameworks.config import AugmentationSpec, preset

OFFICIAL = preset("rtdetr_r18vd")
FLIP_ALONE = AugmentationSpec(photometric_distort=0, zoom_out=0, iou_crop=0, horizontal_flip=0.5, min_box_size=0)


def test_a_gpu_gets_the_official_settings_but_for_the_augmentation() -> None:
    spec = resolve_spec(OFFICIAL, "cuda", subset=50)
    assert spec == replace(OFFICIAL, data=replace(OFFICIAL.data, augmentation=FLIP_ALONE))
    assert deviations(OFFICIAL, spec, train_images=TRAIN_IMAGES) == [
        "`data.augmentation.photometric_distort` is 0 instead of 0.5",
        "`data.augmentation.zoom_out` is 0 instead of 0.5",
        "`data.augmentation.iou_crop` is 0 instead of 0.8",
        "`data.augmentation.min_box_size` is 0 instead of 1",
        "`data.augmentation.scales` is empty instead of "
        "[480, 512, 544, 576, 608, 640, 640, 640, 672, 704, 736, 768, 800]",
        *ALWAYS,
    ]


def test_what_a_run_does_not_do_is_said_for_every_kind_of_preset() -> None:
    """The end of the augmentation and the weights that the official run is tuned from, too."""
    official = preset("rtdetrv2_r34vd_dsp")
    spec = resolve_spec(official, "cuda", subset=50)
    assert spec.data.augmentation == FLIP_ALONE and spec.recipe.tuning == ""
    said = deviations(official, spec, train_images=TRAIN_IMAGES)
    assert "`data.augmentation.strong_stop_epoch` is 0 instead of 10" in said
    assert f"`recipe.tuning` is empty instead of {official.recipe.tuning}" in said


def test_a_cpu_gets_its_budget_and_each_part_of_it_is_said() -> None:
    spec = resolve_spec(OFFICIAL, "cpu", subset=50)
    assert spec.model == OFFICIAL.model and spec.criterion == OFFICIAL.criterion
    assert (spec.data.image_size, spec.data.batch_size) == ((CPU.image_size,) * 2, CPU.batch_size)
    assert {group.lr for group in spec.recipe.groups} == {CPU.lr}
    assert spec.data.augmentation == FLIP_ALONE
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
    data = resolve_spec(tiny, "cpu", subset=50).data
    assert (data.image_size, data.batch_size) == (tiny.data.image_size, tiny.data.batch_size)


@pytest.mark.parametrize("change", [{"clip_max_norm": 0.5}, {"betas": (0.9, 0.99)}, {"milestones": (3, 4)}])
def test_any_other_field_that_differs_is_said_too(change: dict) -> None:
    resolved = replace(OFFICIAL, recipe=replace(OFFICIAL.recipe, **change))
    said = [line for line in deviations(OFFICIAL, resolved, train_images=TRAIN_IMAGES) if line not in ALWAYS]
    assert len(said) == 1 and next(iter(change)) in said[0]
