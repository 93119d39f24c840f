"""What a run records of its detections: all of COCO's numbers with intervals, classes, curves; and their pages."""

import json
from pathlib import Path
from typing import Any

import pytest

from reports.build import build_report
from reports.run.meta import COCO_STATS
from reports.run.per_class import class_tables
from reports.run.recall_figure import caption, recall_figure
from reports.run.records import read_run
from reports.run.statistics import statistics_tables
from reports.tests.test_error_types import write_ground_truth
from reports.tests.test_published_tables import cells

pytestmark = pytest.mark.usefixtures("blank_figures")
NAMES = ("torch", "jittor")


def difference(value: float, width: float = 0.01) -> dict[str, float]:
    """A recorded difference whose interval is so wide to either side."""
    return {"difference": value, "low": value - width, "high": value + width}


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def recorded(run_dir: Path) -> Path:
    """A run with everything that is recorded after the last epoch."""
    record_precision(run_dir)
    return run_dir


def record_precision(run_dir: Path) -> None:
    """Add what a run records after the last epoch; AP_small is what COCO does not define here."""
    about = {"reference": "torch", "other": "jittor", "resamples": 1000}
    defined = {name: difference(place / 100) for place, name in enumerate(COCO_STATS) if name != "AP_small"}
    splits = ("train", "val")
    statistics = [about | difference(0.0) | {"split": split, "statistics": defined} for split in splits]
    write_lines(run_dir / "bootstrap.jsonl", statistics)
    classes = []
    for number, (images, apart) in enumerate([(3, 0.5), (12, 0.5), (40, 0.0), (25, -0.2)], start=1):
        facts = {"split": "val", "category_id": number, "name": f"kind {number}", "objects": 2 * images}
        values = {"images": images, "AP": {"torch": 0.25, "jittor": 0.25 + apart}, "AP50": {}}
        classes.append(facts | values | {"differences": {"jittor": difference(apart)}})
    write_lines(run_dir / "classes.jsonl", classes)
    levels = {"train": {"0.50": 0.8, "0.75": 0.4}, "val": {"0.50": 0.001, "0.75": 0.0}}
    curves = {split: {iou: [level] * 101 for iou, level in each.items()} for split, each in levels.items()}
    rows = [{"split": split, "name": name, "precision": each} for split, each in curves.items() for name in NAMES]
    write_lines(run_dir / "curves.jsonl", rows)


def test_every_number_of_coco_has_its_difference_and_interval(recorded: Path) -> None:
    train, val = statistics_tables(read_run(recorded))
    assert (train["images"], val["images"]) == ("training images", "validation images")
    heading, *rows = cells(train["table"])
    assert heading == ["statistic", "PyTorch", "Jittor", "Jittor − PyTorch"]
    assert [row[0] for row in rows] == list(COCO_STATS)
    assert rows[1][-1] == "+0.0100 (+0.0000 to +0.0200)"
    assert rows[COCO_STATS.index("AP_small")][1:] == ["n/a", "n/a", "–"]


def test_classes_come_by_their_objects_and_only_common_ones_are_counted(recorded: Path) -> None:
    (found,) = class_tables(read_run(recorded))
    assert found["title"] == "AP of every class that the validation images hold (4)"
    _, *rows = cells(found["table"])
    assert [row[0] for row in rows] == ["`kind 3`", "`kind 4`", "`kind 2`", "`kind 1`"]
    assert rows[1] == ["`kind 4`", "50", "25", "0.2500", "0.0500", "-0.2000 (-0.2100 to -0.1900)"]
    assert "Of 4 classes 3 are in 10 or more images; of those it leaves 0 out in 2 for Jittor" in found["summary"]


def test_the_name_of_a_class_is_just_letters(recorded: Path) -> None:
    rows = [json.loads(line) for line in (recorded / "classes.jsonl").read_text().splitlines()]
    rows[0]["name"] = "a | `b`\n<i>c</i>"
    write_lines(recorded / "classes.jsonl", rows)
    assert "| `a \\| 'b' <i>c</i>`" in class_tables(read_run(recorded))[0]["table"]


def test_curves_are_drawn_where_something_was_learnt(recorded: Path, tmp_path: Path) -> None:
    run = read_run(recorded)
    assert recall_figure(run, tmp_path / "curves.png") is not None
    told = caption(run)
    assert "PyTorch 0.800 and 0.400, Jittor 0.800 and 0.400 on the training images" in told
    assert "validation" not in told
    (recorded / "curves.jsonl").unlink()
    assert recall_figure(read_run(recorded), tmp_path / "curves.png") is None


def test_the_page_shows_them_and_changes_with_a_record(recorded: Path) -> None:
    write_ground_truth(recorded, "val", (21, 22))
    text = build_report(recorded).read_text()
    for told in ("(report_recall.png)", "<details><summary>AP of every class", "| split   |", "- localisation:"):
        assert told in text
    assert "All COCO statistics after the last epoch" not in text, "there is one table of them"
    assert build_report(recorded).read_text() == text
    rows = [json.loads(line) for line in (recorded / "classes.jsonl").read_text().splitlines()]
    rows[0]["AP"]["torch"] = 0.4321
    write_lines(recorded / "classes.jsonl", rows)
    assert "0.4321" in build_report(recorded).read_text() and "0.4321" not in text


def test_a_run_without_these_records_has_the_plain_table(run_dir: Path) -> None:
    text = build_report(run_dir).read_text()
    assert "All COCO statistics after the last epoch" in text
    for absent in ("report_recall.png", "AP of every class", "- localisation:"):
        assert absent not in text
