"""Batches: the same for everybody, whatever came before."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.data.batches import Batch, EpochOrder, batch_count, epoch_batches, evaluation_batches
from experiments.data.coco import CocoSplit, load_split
from experiments.data.images import load_annotated, resize_bilinear, to_chw
from experiments.data.keyed_random import uniform
from experiments.data.targets import build_targets
from experiments.tests.data_sets import shapes, user_error

SIZE = 32


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> CocoSplit:
    return load_split(shapes(tmp_path_factory.mktemp("batches"), train=7, val=1), "train")


def batches(split: CocoSplit, **changed: Any) -> Iterator[Batch]:
    ids, epoch = changed.pop("ids", list(split.images)), changed.pop("epoch", 0)
    others = {name: changed.pop(name) for name in ("workers",) if name in changed}
    order = {"seed": 0, "batch_size": 2, "image_size": SIZE, "drop_last": False} | changed
    return epoch_batches(split, ids, EpochOrder(**order), epoch, **others)


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
        images_B3SS, boxes_N4 = batch.arrays["images"], batch.arrays["boxes"]
        size, objects = len(batch.image_ids), int(batch.arrays["counts"].sum())
        assert images_B3SS.shape == (size, 3, SIZE, SIZE) and images_B3SS.dtype == np.float32
        assert 0 <= images_B3SS.min() < images_B3SS.max() <= 1
        assert boxes_N4.shape == (objects, 4) and boxes_N4.dtype == np.float32
        assert batch.arrays["labels"].shape == (objects,) and batch.arrays["labels"].dtype == np.int64
        assert batch.arrays["counts"].shape == (size,) and batch.arrays["counts"].dtype == np.int64
        sizes = [(split.images[image_id].height, split.images[image_id].width) for image_id in batch.image_ids]
        np.testing.assert_array_equal(batch.arrays["original_sizes_wh"], np.array(sizes)[:, ::-1])
    assert any(0 in batch.arrays["counts"] for batch in found), "the image without objects is gone"


@pytest.mark.parametrize("flip_probability", [0.0, 1.0])
def test_contents_are_those_of_the_images(split: CocoSplit, flip_probability: float) -> None:
    for batch in batches(split, flip_probability=flip_probability):
        stops = np.cumsum(batch.arrays["counts"])
        for index, image_id in enumerate(batch.image_ids):
            pixels_3SS = to_chw(resize_bilinear(load_annotated(split, image_id), (SIZE, SIZE)))
            record = split.images[image_id]
            labels_N, boxes_N4 = build_targets(
                split.annotations[image_id], (record.width, record.height), split.classes
            )
            if flip_probability:
                pixels_3SS, boxes_N4 = pixels_3SS[..., ::-1], boxes_N4 * [-1, 1, 1, 1] + [1, 0, 0, 0]
            mine = slice(stops[index] - batch.arrays["counts"][index], stops[index])
            np.testing.assert_array_equal(batch.arrays["labels"][mine], labels_N)
            np.testing.assert_allclose(batch.arrays["boxes"][mine], boxes_N4, atol=1e-7)
            # flipped before the resize or after it: Pillow may round one level of 255 differently
            np.testing.assert_allclose(batch.arrays["images"][index], pixels_3SS, atol=1.01 / 255)


def test_neither_the_order_of_ids_nor_threads_nor_an_early_stop_matter(split: CocoSplit) -> None:
    whole = list(batches(split))
    assert_equal(list(batches(split, ids=list(split.images)[::-1], workers=5)), whole)
    assert_equal(list(islice(batches(split, workers=1), 2)), whole[:2])


def test_draws_of_different_keys_are_unrelated() -> None:
    """Draws of different keys are unrelated: each pair of rows agrees about half of the time."""
    rows = [[uniform("flip", *key, image_id) < 0.5 for image_id in range(400)] for key in [(0, 0), (0, 1), (1, 0)]]
    for one in range(3):
        assert 160 < sum(rows[one]) < 240
        for other in range(one):
            assert 160 < sum(a == b for a, b in zip(rows[one], rows[other], strict=True)) < 240


def test_flips_follow_seed_and_epoch(split: CocoSplit) -> None:
    def flips(**key: int) -> tuple[bool, ...]:
        plain = batches(split, shuffle=False, flip_probability=0)
        found = batches(split, shuffle=False, **key)
        pairs = [(a.arrays["images"], b.arrays["images"]) for a, b in zip(plain, found, strict=True)]
        return tuple(bool((a[i] != b[i]).any()) for a, b in pairs for i in range(len(a)))

    rows = {flips(seed=seed, epoch=epoch) for seed in range(2) for epoch in range(2)}
    assert len(rows) == 4 and flips(seed=1, epoch=1) in rows


def test_order_follows_seed_and_epoch(split: CocoSplit) -> None:
    orders = {
        tuple(image_id for batch in batches(split, seed=seed, epoch=epoch) for image_id in batch.image_ids)
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9
    kept = [image_id for batch in batches(split, shuffle=False) for image_id in batch.image_ids]
    assert kept == list(split.images)


def test_the_draws_are_pinned() -> None:
    """Stored runs resume under later versions only if these numbers never change (SHA-256 of the key's text)."""
    assert [uniform("order", 0, 0, 9), uniform("flip", 1, 2, 3)] == [0.23523680861450447, 0.5200924044871551]


def test_last_batches(split: CocoSplit) -> None:
    assert [len(batch.image_ids) for batch in batches(split, drop_last=True)] == [2, 2, 2]
    assert (batch_count(7, 2, drop_last=True), batch_count(7, 2, drop_last=False)) == (3, 4)


def test_evaluation_keeps_every_image_in_order_and_unflipped(split: CocoSplit) -> None:
    ids = list(split.images)[::-1]
    found = list(evaluation_batches(split, ids, batch_size=3, image_size=SIZE))
    assert [image_id for batch in found for image_id in batch.image_ids] == ids
    plain = list(batches(split, ids=ids, batch_size=3, shuffle=False, flip_probability=0))
    assert_equal(found, plain)


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"image_size": -1}, "image_size is -1"),
        ({"workers": 0}, "workers is 0"),
        ({"flip_probability": 1.5}, "flip_probability is 1.5"),
        ({"flip_probability": float("nan")}, "flip_probability is nan"),
        ({"epoch": -1}, "epoch is -1"),
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
