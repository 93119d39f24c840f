"""Batches: the same for everybody, whatever came before."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.data.batches import Batch, EpochOrder, batch_count, epoch_batches, evaluation_batches
from experiments.data.coco import CocoSplit, load_split
from experiments.data.images import flip_horizontal, load_annotated, resize_nearest
from experiments.data.keyed_random import Draws, uniform
from experiments.data.targets import build_targets, normalised
from experiments.tests.data_sets import shapes, user_error
from frameworks.config import AugmentationSpec, preset
from frameworks.images import resize_bilinear, to_chw

SIZE = (32, 64)
FLIP = AugmentationSpec(photometric_distort=0, zoom_out=0, iou_crop=0, horizontal_flip=0.5, min_box_size=0)
PLAIN = replace(FLIP, horizontal_flip=0)
OFFICIAL = AugmentationSpec()
SCALES = preset("rtdetr_r18vd").data.augmentation.scales


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> CocoSplit:
    return load_split(shapes(tmp_path_factory.mktemp("batches"), train=7, val=1), "train")


def batches(split: CocoSplit, **changed: Any) -> Iterator[Batch]:
    ids, epoch = changed.pop("ids", list(split.images)), changed.pop("epoch", 0)
    others = {name: changed.pop(name) for name in ("workers", "start") if name in changed}
    order = {"seed": 0, "batch_size": 2, "image_size": SIZE, "augmentation": FLIP, "drop_last": False} | changed
    return epoch_batches(split, ids, EpochOrder(**order), epoch, **({"workers": 2} | others))


def assert_equal(left: list[Batch], right: list[Batch]) -> None:
    assert [batch.image_ids for batch in left] == [batch.image_ids for batch in right]
    for one, other in zip(left, right, strict=True):
        assert one.arrays.keys() == other.arrays.keys()
        for name in one.arrays:
            np.testing.assert_array_equal(one.arrays[name], other.arrays[name], err_msg=name)


def test_shapes_types_and_ranges(split: CocoSplit) -> None:
    found = list(batches(split))
    assert [len(batch.image_ids) for batch in found] == [2, 2, 2, 1]
    assert sorted(image_id for batch in found for image_id in batch.image_ids) == list(split.images)
    for batch in found:
        images_B3HW, boxes_N4 = batch.arrays["images"], batch.arrays["boxes"]
        size, objects = len(batch.image_ids), int(batch.arrays["counts"].sum())
        assert images_B3HW.shape == (size, 3, *SIZE) and images_B3HW.dtype == np.float32
        assert 0 <= images_B3HW.min() < images_B3HW.max() <= 1
        assert boxes_N4.shape == (objects, 4) and boxes_N4.dtype == np.float32
        assert batch.arrays["labels"].shape == (objects,) and batch.arrays["labels"].dtype == np.int64
        assert batch.arrays["counts"].shape == (size,) and batch.arrays["counts"].dtype == np.int64
        sizes = [(split.images[image_id].height, split.images[image_id].width) for image_id in batch.image_ids]
        np.testing.assert_array_equal(batch.arrays["original_sizes_wh"], np.array(sizes)[:, ::-1])
    assert any(0 in batch.arrays["counts"] for batch in found), "the image without objects is gone"


@pytest.mark.parametrize("flip", [False, True])
def test_contents_are_those_of_the_images_to_the_bit(split: CocoSplit, flip: bool) -> None:
    """As all runs before there was more than the flip."""
    for batch in batches(split, augmentation=replace(FLIP, horizontal_flip=float(flip))):
        stops = np.cumsum(batch.arrays["counts"])
        for index, image_id in enumerate(batch.image_ids):
            record, image = split.images[image_id], load_annotated(split, image_id)
            size_wh = (record.width, record.height)
            pixel_targets = build_targets(split.annotations[image_id], size_wh, split.classes)
            labels_N, boxes_N4 = normalised(pixel_targets, size_wh)
            if flip:
                image, boxes_N4 = flip_horizontal(image, boxes_N4)
            mine = slice(stops[index] - batch.arrays["counts"][index], stops[index])
            np.testing.assert_array_equal(batch.arrays["labels"][mine], labels_N)
            np.testing.assert_array_equal(batch.arrays["boxes"][mine], boxes_N4)
            np.testing.assert_array_equal(batch.arrays["images"][index], to_chw(resize_bilinear(image, SIZE)))


@pytest.mark.parametrize("augmentation", [FLIP, replace(OFFICIAL, scales=(32, 64, 96))])
def test_only_seed_epoch_image_and_batch_matter(split: CocoSplit, augmentation: AugmentationSpec) -> None:
    """Not the order of ids, nor the number of processes, nor an early stop, nor a resumed epoch."""
    whole = list(batches(split, augmentation=augmentation, epoch=3))
    changed = {"augmentation": augmentation, "epoch": 3}
    assert_equal(list(batches(split, ids=list(split.images)[::-1], workers=3, **changed)), whole)
    assert_equal(list(islice(batches(split, workers=1, **changed), 2)), whole[:2])
    assert_equal(list(batches(split, start=2, **changed)), whole[2:])


def test_draws_of_different_keys_are_unrelated() -> None:
    """Draws of different keys are unrelated: each pair of rows agrees about half of the time."""
    rows = [[uniform("flip", *key, image_id) < 0.5 for image_id in range(400)] for key in [(0, 0), (0, 1), (1, 0)]]
    for one in range(3):
        assert 160 < sum(rows[one]) < 240
        for other in range(one):
            assert 160 < sum(a == b for a, b in zip(rows[one], rows[other], strict=True)) < 240


def test_flips_follow_seed_and_epoch(split: CocoSplit) -> None:
    def flips(**key: int) -> tuple[bool, ...]:
        plain = batches(split, shuffle=False, augmentation=PLAIN)
        found = batches(split, shuffle=False, **key)
        pairs = [(a.arrays["images"], b.arrays["images"]) for a, b in zip(plain, found, strict=True)]
        return tuple(bool((a[i] != b[i]).any()) for a, b in pairs for i in range(len(a)))

    rows = {flips(seed=seed, epoch=epoch) for seed in range(2) for epoch in range(2)}
    assert len(rows) == 4 and flips(seed=1, epoch=1) in rows


def test_order_follows_seed_and_epoch(split: CocoSplit) -> None:
    ids = list(split.images)
    orders = {
        tuple(map(tuple, EpochOrder(seed, 2, SIZE, FLIP, drop_last=False).image_ids(ids, epoch)))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9
    kept = [image_id for batch in batches(split, shuffle=False) for image_id in batch.image_ids]
    assert kept == ids


def test_the_draws_are_pinned() -> None:
    """Stored runs resume under later versions only if these numbers never change (SHA-256 of the key's text)."""
    assert [uniform("order", 0, 0, 9), uniform("flip", 1, 2, 3)] == [0.23523680861450447, 0.5200924044871551]
    draws = Draws("zoom out", 1, 2, 3)
    assert [draws.uniform(), draws.uniform(1, 4)] == [0.6398622709656451, 3.573330353952723]
    assert (draws.index(7), draws.permutation(3)) == (2, [0, 1, 2])


def test_last_batches(split: CocoSplit) -> None:
    assert [len(batch.image_ids) for batch in batches(split, drop_last=True)] == [2, 2, 2]
    assert (batch_count(7, 2, drop_last=True), batch_count(7, 2, drop_last=False)) == (3, 4)


def test_evaluation_keeps_every_image_in_order_and_unchanged(split: CocoSplit) -> None:
    ids = list(split.images)[::-1]
    found = list(evaluation_batches(split, ids, batch_size=3, image_size=SIZE))
    assert [image_id for batch in found for image_id in batch.image_ids] == ids
    plain = list(batches(split, ids=ids, batch_size=3, shuffle=False, augmentation=PLAIN))
    assert_equal(found, plain)


def test_batches_have_the_drawn_sizes_and_nearest_pixels(split: CocoSplit) -> None:
    """A square follows the list; a rectangle keeps its aspect, its longer side is the drawn one."""
    sizes = {}
    for image_size in ((32, 32), (32, 64)):
        order = {"image_size": image_size, "epoch": 1, "batch_size": 1}
        plain = list(batches(split, augmentation=PLAIN, **order))
        scaled = list(batches(split, augmentation=replace(PLAIN, scales=(32, 64, 96, 128)), **order))
        for one, other in zip(plain, scaled, strict=True):
            small, large = torch.from_numpy(one.arrays["images"]), torch.from_numpy(other.arrays["images"])
            expected = torch.nn.functional.interpolate(small, size=large.shape[2:])
            np.testing.assert_array_equal(large.numpy(), expected.numpy())
            np.testing.assert_array_equal(one.arrays["boxes"], other.arrays["boxes"])
        sizes[image_size] = {batch.arrays["images"].shape[2:] for batch in scaled}
    assert sizes[32, 32] <= {(32, 32), (64, 64), (96, 96), (128, 128)} and len(sizes[32, 32]) > 1
    assert sizes[32, 64] <= {(32, 32), (32, 64), (64, 96), (64, 128)} and len(sizes[32, 64]) > 1


def test_sizes_of_batches_are_drawn_evenly_until_they_stop() -> None:
    augmentation = replace(OFFICIAL, scales=SCALES, scales_stop_epoch=71)
    order = EpochOrder(0, 16, (640, 640), augmentation)
    sizes = Counter(order.input_size(epoch, number) for epoch in range(70, 80) for number in range(260))
    assert sizes.pop((640, 640)) > 9 * 260, "the size is fixed from epoch 71 on"
    never = replace(order, augmentation=replace(augmentation, scales_stop_epoch=0))
    sizes = Counter(never.input_size(epoch, number) for epoch in range(70, 80) for number in range(260))
    assert sizes.keys() == {(side, side) for side in SCALES}
    assert 530 < sizes.pop((640, 640)) < 670, "640 is in the list three times"
    assert all(145 < count < 255 for count in sizes.values()), sizes
    fixed = replace(order, augmentation=OFFICIAL, image_size=(320, 640))
    assert {fixed.input_size(0, number) for number in range(9)} == {(320, 640)}


@pytest.mark.parametrize("side", sorted({*SCALES, 32, 96, 224}))
def test_nearest_pixels_are_those_of_pytorch(side: int) -> None:
    for old in (640, 320, 160):
        index_H = torch.arange(old, dtype=torch.float32)
        expected_H = torch.nn.functional.interpolate(index_H[None, None, :, None], size=(side, 1))[0, 0, :, 0]
        found = resize_nearest(np.arange(old)[:, None, None], (side, 1))[:, 0, 0]
        np.testing.assert_array_equal(found, expected_H.numpy())


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"image_size": (32, -1)}, "image_size is (32, -1)"),
        ({"workers": 0}, "workers is 0"),
        ({"epoch": -1}, "epoch is -1"),
        ({"start": -1}, "start is -1"),
        ({"ids": []}, "no image ids"),
        ({"ids": [1, 99]}, "image id 99"),
        ({"ids": [1, 1]}, "twice"),
        ({"batch_size": 8, "drop_last": True}, "7 images make no full batch of 8"),
    ],
)
def test_arguments_out_of_range_fail_before_the_first_batch(
    split: CocoSplit, change: dict[str, Any], fragment: str
) -> None:
    user_error(lambda: batches(split, **change), fragment)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    split = load_split(shapes(tmp_path, train=4, val=1), "train")
    victim = split.image_folder / split.images[4].file_name
    victim.write_bytes(b"no image")
    user_error(lambda: list(batches(split)), victim)
