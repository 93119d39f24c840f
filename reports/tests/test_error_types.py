"""Types of errors: one image made by hand for each, and the table of a run."""

import json
from collections import Counter
from pathlib import Path

import pytest

from frameworks.errors import UserError
from reports.run.error_types import Objects, error_table, image_errors, read_ground_truth
from reports.run.matches import overlaps
from reports.run.records import Box, read_run
from reports.tests.test_published_tables import cells


def box(category: str, *bbox: float) -> Box:
    """A box of 100 pixels' height, from its left end and its width."""
    left, width = bbox
    return Box(category, (left, 0.0, width, 100.0))


PERSON, DOG = box("person", 0, 100), box("dog", 300, 100)
HALF = box("person", 50, 100)  # IoU 1/3 with PERSON
FAR = box("person", 600, 100)

CASES = {
    "an object is found": ([PERSON], [PERSON], {"correct": 1}),
    "nothing is found": ([], [PERSON], {"missed": 1}),
    "right class, box half beside": ([HALF], [PERSON], {"localisation": 1}),
    "right box, wrong class": ([box("cat", 0, 100)], [PERSON], {"class": 1}),
    "found once more": ([PERSON, PERSON], [PERSON], {"correct": 1, "duplicate": 1}),
    "on nothing": ([FAR], [PERSON], {"background": 1, "missed": 1}),
    "on an image without objects": ([FAR], [], {"background": 1}),
    "wrong class, box half beside": ([box("cat", 50, 100)], [PERSON], {"both": 1, "missed": 1}),
    "touching an object by less than a tenth": ([box("person", 95, 100)], [PERSON], {"background": 1, "missed": 1}),
    "an object that is found stays found": ([PERSON, HALF], [PERSON], {"correct": 1, "localisation": 1}),
    "two objects, one of them missed": ([PERSON], [PERSON, DOG], {"correct": 1, "missed": 1}),
    "beside an object of its class and on one of another": (
        [box("dog", 0, 100)],
        [PERSON, box("dog", 50, 100)],
        {"localisation": 1, "missed": 1},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_type_has_an_image(case: str) -> None:
    boxes, truth, expected = CASES[case]
    assert +image_errors(boxes, Objects(tuple(truth))) == Counter(expected)


def test_the_images_are_what_they_say() -> None:
    assert overlaps([HALF, box("person", 95, 100)], [PERSON])[:, 0] == pytest.approx([1 / 3, 5 / 195])


def test_the_better_detection_finds_the_object() -> None:
    near = box("person", 10, 100)  # IoU 0.82
    assert +image_errors([near, PERSON], Objects((PERSON,))) == Counter({"correct": 1, "duplicate": 1})


def test_what_lies_on_a_crowd_counts_neither_way() -> None:
    crowd = box("person", 500, 400)
    assert +image_errors([FAR], Objects((), (crowd,))) == Counter()
    assert +image_errors([box("dog", 600, 100)], Objects((), (crowd,))) == Counter({"background": 1})


def write_ground_truth(folder: Path, split: str, images: tuple[int, ...]) -> None:
    """A person in every image, where nothing is detected."""
    annotation = {"category_id": 1, "bbox": [900, 900, 10, 10], "iscrowd": 0}
    found = [annotation | {"image_id": image} for image in images]
    document = {"images": [{"id": image} for image in images], "annotations": found, "categories": []}
    (folder / f"ground_truth_{split}.json").write_text(json.dumps(document))


def test_the_table_has_a_row_per_split_and_framework(run_dir: Path) -> None:
    assert error_table(read_run(run_dir)) is None, "runs from before there was a ground truth"
    write_ground_truth(run_dir, "train", (11, 12))
    write_ground_truth(run_dir, "val", (21, 22))
    found = [{"image_id": 21, "category_id": 1, "bbox": [900, 900, 10, 10], "score": 0.9}]
    (run_dir / "jittor" / "predictions_val.json").write_text(json.dumps(found))
    heading, *rows = cells(error_table(read_run(run_dir)))
    names = ("PyTorch", "Jittor")
    assert [row[:2] for row in rows] == [[split, name] for split in ("train", "val") for name in names]
    last = dict(zip(heading, rows[-1], strict=True))
    assert (last["correct"], last["missed"], last["background"]) == ("1", "1", "0")
    background, missed = (int(rows[0][heading.index(name)]) for name in ("background", "missed"))
    assert background > 10 and missed == 2, "the drawn detections lie elsewhere"


def test_a_broken_ground_truth_is_named(run_dir: Path) -> None:
    (run_dir / "ground_truth_val.json").write_text('{"images": [{}], "annotations": []}')
    with pytest.raises(UserError, match=r"ground_truth_val.json: is not in COCO's format"):
        read_ground_truth(run_dir, "val")
