"""AP of resampled images: against pycocotools on the same images, and intervals that can be worked out by hand."""

import itertools
from typing import Any

import numpy as np
import pytest

from experiments.data.coco import CocoSplit, parse_split
from experiments.runs.bootstrap import average_precision, category_matches, interval, resampled_counts
from experiments.runs.evaluation import coco_stats, matched
from experiments.tests.data_sets import ROOT, annotation, document

IMAGES = 6
GRID = np.linspace(0, 1, 101)


def split_with(counts: list[int]) -> tuple[CocoSplit, list[int], dict[int, list[int]]]:
    """Six images of drawn objects of two classes, some of them crowds, each so often; and who is whose copy."""
    draw = np.random.default_rng(3)
    written = document() | {"images": [], "annotations": []}
    copies: dict[int, list[int]] = {}
    number = itertools.count(1)
    for image, count in enumerate(counts, start=1):
        boxes = [[*draw.uniform(0, 40, 2).tolist(), *draw.uniform(8, 50, 2).tolist()] for _ in range(4)]
        kinds = [(int(draw.choice([1, 90])), int(draw.random() < 0.2)) for _ in boxes]
        for _ in range(count):
            copy = 100 * image + len(copies.setdefault(image, []))
            copies[image].append(copy)
            written["images"].append({"id": copy, "file_name": f"{copy}.jpg", "height": 100, "width": 100})
            for box, (kind, crowd) in zip(boxes, kinds, strict=True):
                written["annotations"].append(annotation(next(number), copy, kind, box) | {"iscrowd": crowd})
    split = parse_split(written, ROOT, "val")
    return split, sorted(split.images), copies


def detections(copies: dict[int, list[int]]) -> list[dict[str, Any]]:
    """Twelve drawn detections of every image, near its objects, and the same for its copies."""
    one, ids, _ = split_with([1] * IMAGES)
    draw, found = np.random.default_rng(5), []
    for image, image_id in enumerate(ids, start=1):
        for _ in range(3):
            for each in one.annotations[image_id]:
                box = (np.array(each.bbox_xywh) + draw.normal(0, 2.5, 4)).clip(1).tolist()
                item = {"category_id": int(draw.choice([1, 90])), "bbox": box, "score": float(draw.random())}
                found += [item | {"image_id": copy} for copy in copies.get(image, [])]
    return found


def direct(counts: list[int]) -> float:
    """AP by pycocotools, with every image there as often as it counts."""
    split, ids, copies = split_with(counts)
    return coco_stats(split, ids, detections(copies))["AP"]


@pytest.mark.parametrize("counts", [[1] * 6, [3, 0, 1, 0, 2, 0], [0, 0, 0, 0, 0, 6], [2, 2, 0, 1, 1, 0]])
def test_counting_an_image_twice_is_evaluating_it_twice(counts: list[int]) -> None:
    split, ids, copies = split_with([1] * IMAGES)
    matches = category_matches(matched(split, ids, detections(copies)))
    (value,) = average_precision(matches, np.array([counts]), GRID)
    expected = direct(counts)
    assert value == pytest.approx(expected, abs=1e-12)
    assert 0.01 < expected < 0.99, "the example says something"


def test_a_resample_without_an_object_has_no_ap() -> None:
    assert average_precision([], np.ones((2, 3), np.int64), GRID).tolist() == [-1, -1]


def test_the_interval_of_two_images_that_only_one_side_finds() -> None:
    """One side finds the object of the first image, the other that of the second: with one object each, the
    difference of the recalls is -1, 0 or 1 with the chances 1/4, 1/2, 1/4, and so are the APs' to the grid."""
    written = document() | {"images": [], "annotations": []}
    for image in (1, 2):
        written["images"].append({"id": image, "file_name": f"{image}.jpg", "height": 100, "width": 100})
        written["annotations"].append(annotation(image, image, 1, [10, 10, 30, 30]))
    split = parse_split(written, ROOT, "val")
    counts_RI = resampled_counts(2, 4000, seed=1)
    sides = []
    for image in (1, 2):
        result = {"image_id": image, "category_id": 1, "bbox": [10, 10, 30, 30], "score": 0.5}
        matches = category_matches(matched(split, [1, 2], [result]))
        sides.append(average_precision(matches, counts_RI, GRID))
    differences = sides[1] - sides[0]
    values, shares = np.unique(differences.round(9), return_counts=True)
    assert values.tolist() == [-1, 0, 1] and shares / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    assert set(sides[0].round(9).tolist()) == {0.0, round(51 / 101, 9), 1.0}, "recall 1/2 reaches 51 of 101 places"
    assert interval(differences, 0.95) == (-1, 1) and interval(differences, 0.4) == (0, 0)


def test_resamples_are_drawn_from_the_seed_and_keep_the_number_of_images() -> None:
    counts_RI = resampled_counts(7, 50, seed=3)
    assert (counts_RI.sum(axis=1) == 7).all() and counts_RI.std() > 0.5
    np.testing.assert_array_equal(counts_RI, resampled_counts(7, 50, seed=3))
    assert (counts_RI != resampled_counts(7, 50, seed=4)).any()
