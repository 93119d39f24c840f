"""Detections to COCO's numbers, on values worked out by hand."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from experiments.data.categories import COCO, Classes
from experiments.data.coco import CocoSplit, load_split, parse_split
from experiments.runs.data import Subset
from experiments.runs.evaluation import coco_results, coco_stats, evaluate
from experiments.tests.data_sets import ROOT, document, shapes, split_of
from frameworks.config import preset
from frameworks.protocol import Detections
from reports.run.meta import COCO_STATS


def detections(label: int, *boxes_xyxy: list[float]) -> dict[str, np.ndarray]:
    """One image's detections, the first box with the best score."""
    count = len(boxes_xyxy)
    return {
        "labels": np.full((1, count), label, np.int64),
        "boxes": np.array([boxes_xyxy], np.float32).reshape(1, count, 4),
        "scores": np.linspace(0.9, 0.5, count, dtype=np.float32)[None],
    }


def one_object() -> CocoSplit:
    """Image 3: a toothbrush at [5, 5, 15, 25] xyxy; image 7 has nothing but a crowd of people."""
    written = document()
    written["annotations"] = [each for each in written["annotations"] if each["id"] != 2]
    return parse_split(written, ROOT, "train")


def test_boxes_become_top_left_and_size_with_coco_ids_and_are_not_clipped() -> None:
    (result,) = coco_results([3], detections(79, [-4.0, 5.0, 16.5, 60.0]), COCO)
    assert result == {
        "image_id": 3,
        "category_id": 90,
        "bbox": [-4.0, 5.0, 20.5, 55.0],
        "score": float(np.float32(0.9)),
    }


def test_results_carry_the_category_ids_of_the_data_set() -> None:
    helmets = Classes((0, 7), ("vest", "helmet"))
    (result,) = coco_results([3], detections(1, [0, 0, 5, 5]), helmets)
    assert result["category_id"] == 7
    (result,) = coco_results([3], detections(0, [0, 0, 5, 5]), helmets)
    assert result["category_id"] == 0


def test_a_perfect_detection_scores_one() -> None:
    results = coco_results([3], detections(79, [5, 5, 15, 25]), COCO)
    stats = coco_stats(one_object(), [3, 7], results)
    assert tuple(stats) == COCO_STATS
    assert [stats[name] for name in ("AP", "AP50", "AR1", "AR100")] == pytest.approx([1.0] * 4)
    assert stats["AP_large"] == -1.0, "COCO defines none where no object is large"


def test_the_overlap_decides_at_which_thresholds_a_detection_counts() -> None:
    # 10x20 against 10x14 inside it: IoU 0.7 meets the thresholds 0.50, 0.55, 0.60, 0.65 and 0.70 of the ten
    results = coco_results([3], detections(79, [5, 5, 15, 19.001]), COCO)
    stats = coco_stats(one_object(), [3, 7], results)
    assert stats["AP50"] == pytest.approx(1.0) and stats["AP75"] == 0.0
    assert stats["AP"] == pytest.approx(0.5)


def test_a_wrong_class_scores_nothing() -> None:
    results = coco_results([3], detections(COCO.label_of(44), [5, 5, 15, 25]), COCO)
    assert coco_stats(one_object(), [3, 7], results)["AP"] == 0.0


def test_only_the_images_of_the_subset_count() -> None:
    split = split_of({1: [1], 2: [1]})
    results = coco_results([1], detections(0, [1, 1, 6, 6]), COCO)
    assert coco_stats(split, [1], results)["AP"] == pytest.approx(1.0)
    assert coco_stats(split, [1, 2], results)["AR100"] == pytest.approx(0.5), "image 2 has no detection"


def test_a_detection_on_an_image_without_objects_is_a_false_one() -> None:
    split = split_of({1: [1], 2: []})
    false = coco_results([2], detections(0, [1, 1, 6, 6]), COCO)
    right = {"image_id": 1, "category_id": 1, "bbox": [1.0, 1.0, 5.0, 5.0], "score": 0.1}
    assert coco_stats(split, [1, 2], [*false, right])["AP"] == pytest.approx(0.5)


@pytest.mark.parametrize("objects", [{1: [1], 2: []}, {1: [], 2: []}])
def test_no_detection_and_no_object_are_numbers_too(objects: dict[int, list[int]]) -> None:
    stats = coco_stats(split_of(objects), [1, 2], [])
    assert stats["AP"] == (0.0 if objects[1] else -1.0)


def test_nothing_is_printed_and_nothing_is_changed(capsys: pytest.CaptureFixture[str]) -> None:
    results = coco_results([3], detections(79, [5, 5, 15, 25]), COCO)
    before = [dict(each) for each in results]
    coco_stats(one_object(), [3, 7], results)
    assert capsys.readouterr() == ("", "")
    assert results == before


class Recorder:
    """Detects nothing but remembers the images; each prediction says that it compiled two kernels."""

    def __init__(self) -> None:
        self.images: list[np.ndarray] = []
        self.counts: list[np.ndarray] = []

    def predict(self, images: dict[str, np.ndarray]) -> Detections:
        self.images.append(images["images"])
        self.counts += [images["counts"]] if "counts" in images else []
        count = len(images["sizes_wh"])
        arrays = {"labels": np.zeros((count, 1), np.int64), "boxes": np.zeros((count, 1, 4))}
        arrays["scores"] = np.ones((count, 1))
        losses = {"loss_vfl": float(len(self.images))} if "counts" in images else {}
        return Detections(arrays, 0.1, kernels_compiled=2, compile_seconds=1.5, losses=losses)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_every_batch_has_the_same_size_and_each_image_counts_once(batch_size: int, tmp_path: Path) -> None:
    split = load_split(shapes(tmp_path), "val")
    ids = sorted(split.images)
    recorder, seen = Recorder(), []
    data = dataclasses.replace(preset("tiny").data, batch_size=batch_size, image_size=(32, 64))
    evaluated = evaluate(recorder.predict, Subset(split, ids), data, seen.append)
    batches = -(-len(ids) // batch_size)
    assert [images.shape for images in recorder.images] == [(batch_size, 3, 32, 64)] * batches
    assert [each["image_id"] for each in evaluated.results] == ids and sum(seen) == len(ids)
    assert (evaluated.kernels_compiled, evaluated.compile_seconds) == (2 * batches, 1.5 * batches)
    filling = batch_size * batches - len(ids)
    for image in recorder.images[-1][batch_size - filling :]:
        np.testing.assert_array_equal(image, recorder.images[-1][-filling - 1])


def test_losses_are_the_mean_over_images_and_the_filling_has_no_targets(tmp_path: Path) -> None:
    split = load_split(shapes(tmp_path), "val")
    recorder, ids = Recorder(), sorted(split.images)
    data = dataclasses.replace(preset("tiny").data, batch_size=3, image_size=(64, 64))
    assert not evaluate(recorder.predict, Subset(split, ids), data).losses and not recorder.counts
    recorder.images.clear()
    evaluated = evaluate(recorder.predict, Subset(split, ids), data, losses=True)
    assert evaluated.losses == {"loss_vfl": (3 * 1.0 + 1 * 2.0) / 4}, "batches of three images and of one"
    assert [len(each) for each in recorder.counts] == [3, 1]
    objects = [each for image_id in ids for each in split.annotations[image_id] if not each.iscrowd]
    assert sum(map(sum, recorder.counts)) == len(objects)
