"""Which boxes a picture shows: threshold, duplicates, and matches with the objects."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Text
from PIL import Image
from safetensors.numpy import load_file, save_file

from reports.run.detections import MOST_LABELS, TALLEST, detection_grid
from reports.run.matches import outcome, overlaps, score_threshold
from reports.run.records import Box, FrameworkRecords, Sample, read_run
from reports.tests.run_folder import rewrite, write_run

CATEGORIES = {1: "person", 2: "dog"}
OBJECTS = (Box("person", (0, 0, 10, 10)), Box("person", (100, 0, 10, 10)), Box("dog", (200, 0, 10, 10)))
SAMPLE = Sample(7, "train", OBJECTS)


def framework(*results: tuple[int, float, float]) -> FrameworkRecords:
    """Boxes of 10 x 10 pixels on image 7: (category, x, score)."""
    items = [
        {"image_id": 7, "category_id": category, "bbox": [x, 0, 10, 10], "score": score}
        for category, x, score in results
    ]
    other = {"image_id": 8, "category_id": 1, "bbox": [0, 0, 10, 10], "score": 0.9}
    return FrameworkRecords("torch", predictions={"train": [*items, other]})


def test_overlap_is_intersection_over_union() -> None:
    boxes = [Box("a", (0, 0, 10, 10)), Box("a", (5, 0, 10, 10)), Box("a", (50, 50, 0, 0))]
    expected = [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 0]]
    np.testing.assert_allclose(overlaps(boxes, boxes), expected)
    assert overlaps(boxes, []).shape == (3, 0)


@pytest.mark.parametrize(
    ("results", "found", "false", "missed"),
    [
        ([], 0, 0, 3),
        ([(1, 1, 0.9), (1, 101, 0.8), (2, 200, 0.7)], 3, 0, 0),
        ([(2, 0, 0.9)], 0, 1, 3),  # another class
        ([(1, 6, 0.9)], 0, 1, 3),  # too little overlap
        ([(1, 0, 0.2)], 0, 0, 3),  # below the threshold
        ([(1, 0, 0.9), (1, 1, 0.8)], 1, 0, 2),  # a duplicate is not drawn
        ([(1, 0, 0.9), (2, 1, 0.8)], 1, 1, 2),  # of another class it is none
        ([(1, -2, 0.9), (1, 2, 0.8)], 1, 1, 2),  # the object is taken, and the two overlap by 3/7 alone
    ],
)
def test_boxes_are_matched_best_first(
    results: list[tuple[int, float, float]], found: int, false: int, missed: int
) -> None:
    judged = outcome(framework(*results), SAMPLE, CATEGORIES, threshold=0.3)
    assert (len(judged.found), len(judged.false), len(judged.missed)) == (found, false, missed)


def test_an_image_without_objects_has_false_boxes_alone() -> None:
    judged = outcome(framework((1, 0, 0.9)), Sample(7, "train", ()), CATEGORIES, threshold=0.3)
    assert (len(judged.found), len(judged.false), len(judged.missed)) == (0, 1, 0)


def test_the_threshold_falls_where_no_model_is_sure(run_dir: Path) -> None:
    assert score_threshold(read_run(run_dir)) == pytest.approx(0.3, abs=0.01)

    def halve(results: list[dict[str, float]]) -> None:
        for item in results:
            item["score"] /= 4

    for path in run_dir.glob("*/predictions_*.json"):
        rewrite(path, halve)
    best = max(
        item["score"]
        for each in read_run(run_dir).frameworks
        for split in each.predictions.values()
        for item in split
    )
    assert score_threshold(read_run(run_dir)) == pytest.approx(best / 2)


def test_crowded_images_are_outlined_but_only_some_boxes_are_named(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, blank_figures: None
) -> None:
    def crowd(samples: dict[str, Any]) -> None:
        for image in samples["images"]:
            places = ((20 * (k % 30), 20 * (k // 30)) for k in range(600))
            image["ground_truth"] = [{"category": "dog", "bbox": [x, y, 12, 12]} for x, y in places]

    written: list[str] = []
    draw = Axes.text

    def text(self: Axes, x: float, y: float, s: str, **look: Any) -> Text:
        written.append(s)
        return draw(self, x, y, s, **look)

    rewrite(run_dir / "samples.json", crowd)
    monkeypatch.setattr(Axes, "text", text)
    run = read_run(run_dir)
    assert detection_grid(run, run_dir / "report_detections.png")
    assert 0 < len(written) <= MOST_LABELS * 3 * len(run.samples)


def test_images_of_any_form_make_a_figure_of_bounded_size(tmp_path: Path) -> None:
    """Of 10 x 20,000 pixels, at full width, a cell would be 7000 inches tall."""
    folder = write_run(tmp_path / "run")
    path = folder / "samples.safetensors"
    forms = dict(zip(load_file(path), [(20_000, 10, 3), (10, 20_000, 3), (20, 20, 3), (1, 1, 3)], strict=True))
    save_file({name: np.zeros(form, np.uint8) for name, form in forms.items()}, path)
    figure = detection_grid(read_run(folder), tmp_path / "a.png")
    assert figure is not None
    with Image.open(figure) as picture:
        assert picture.height < 4 * TALLEST * picture.width
