"""The settings of a run, and that every departure from the official ones is said."""

from dataclasses import replace

import pytest

from experiments.runs.budget import CPU, resolve_spec
from experiments.runs.deviations import ALWAYS, TRAIN_IMAGES, deviations
from frameworks.config import AugmentationSpec, preset
from frameworks.errors import UserError

OFFICIAL = preset("rtdetr_r18vd")
FLIP_ALONE = AugmentationSpec(photometric_distort=0, zoom_out=0, iou_crop=0, horizontal_flip=0.5, min_box_size=0)


def test_a_gpu_gets_the_official_settings() -> None:
    spec = resolve_spec(OFFICIAL, "cuda", subset=50)
    assert spec == OFFICIAL
    assert deviations(OFFICIAL, spec, train_images=TRAIN_IMAGES) == list(ALWAYS)


def test_what_a_run_does_not_do_is_said_for_every_kind_of_preset() -> None:
    """The weights that the official run is tuned from, too."""
    official = preset("rtdetrv2_r34vd_dsp")
    spec = resolve_spec(official, "cuda", subset=50)
    assert spec.data == official.data and spec.recipe.tuning == ""
    said = deviations(official, spec, train_images=TRAIN_IMAGES)
    assert f"`recipe.tuning` is empty instead of {official.recipe.tuning}" in said


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_data_set_that_cannot_be_read_is_refused(device: str) -> None:
    with pytest.raises(UserError, match=r"--preset rtdetrv2_r18vd_voc trains on the data set 'voc'"):
        resolve_spec(preset("rtdetrv2_r18vd_voc"), device, subset=50)


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
    assert "`data.augmentation.iou_crop` is 0 instead of 0.8" in said
    assert any(line.startswith("`data.augmentation.scales` is empty instead of [480, ") for line in said)


def test_what_was_asked_for_goes_before_the_budget() -> None:
    spec = resolve_spec(OFFICIAL, "cpu", subset=50, epochs=100, image_size=320, batch_size=10)
    assert (spec.recipe.epochs, spec.data.image_size, spec.data.batch_size) == (100, (320, 320), 10)


def test_an_augmentation_that_was_asked_for_goes_before_the_budget() -> None:
    augmentation = AugmentationSpec(photometric_distort=0.3, scales=(96, 128))
    asked = replace(OFFICIAL, data=replace(OFFICIAL.data, augmentation=augmentation))
    assert resolve_spec(asked, "cpu", subset=50).data.augmentation == augmentation


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


def test_a_model_without_cocos_classes_is_refused() -> None:
    """Labels beyond its classes would crash in the first step, or in the evaluation."""
    for classes in (79, 81):
        own = replace(OFFICIAL, name="mine", model=replace(OFFICIAL.model, num_classes=classes))
        with pytest.raises(UserError, match=rf"--preset mine has num_classes {classes}.*COCO's labels are 80"):
            resolve_spec(own, "cpu", subset=50)
