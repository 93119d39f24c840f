"""Every object of a data set is trained on, or the account says why not."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.data.account import NORMALISED, account_of, between_lines, full_lines, short_lines
from experiments.data.coco import CocoSplit, load_split, parse_split
from experiments.data.targets import build_targets
from experiments.tests.data_sets import ROOT, annotation, document, real_coco, shapes
from frameworks.config import preset

DATA = preset("tiny").data


def split_with(*objects: tuple[list[float], dict]) -> CocoSplit:
    """Image 1, 100x50 px, with these boxes; image 2, 300x200 px, with nothing."""
    rows = [annotation(n, 1, 1, box) | {"area": 50} | other for n, (box, other) in enumerate(objects, start=1)]
    images = [{"id": 1, "width": 100, "height": 50}, {"id": 2, "width": 300, "height": 200}]
    written = document() | {"annotations": rows}
    written["images"] = [each | {"file_name": f"{each['id']}.png"} for each in images]
    return parse_split(written, ROOT, "train")


GOOD = [10.0, 10.0, 20.0, 20.0]
CASES = {
    "crowd": (GOOD, {"iscrowd": 1}, "dropped", "marked as crowd"),
    "right of the image": ([100.0, 0.0, 20.0, 20.0], {}, "dropped", "outside the image"),
    "above the image": ([10.0, -30.0, 20.0, 20.0], {}, "dropped", "outside the image"),
    "beside the image": ([-20.0, 0.0, 20.0, 20.0], {}, "dropped", "outside the image"),
    "corners": ([40.0, 30.0, -20.0, 10.0], {}, "dropped", "with reversed corners (negative width or height)"),
    "no width": ([40.0, 30.0, 0.0, 10.0], {}, "dropped", "without width or height"),
    "width lost in float32": ([90.0, 30.0, 1e-9, 10.0], {}, "dropped", "without width or height"),
    "over the border": ([80.0, 10.0, 40.0, 20.0], {}, "changed", "cut at the image's border"),
    "normalised": ([0.25, 0.5, 0.125, 0.25], {}, "looks wrong", NORMALISED),
    "negative area": (
        [40.0, 10.0, 20.0, 20.0],
        {"area": -400},
        "looks wrong",
        "with a negative area, so that COCO's AP ignores them",
    ),
    "duplicate": (GOOD, {}, "looks wrong", "listed twice, with the same class and box"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_kind_of_object_is_found_with_an_example(case: str) -> None:
    box, other, kind, reason = CASES[case]
    account = account_of(split_with((GOOD, {}), (box, other)), [1, 2])
    (finding,) = account.findings
    assert (finding.kind, finding.reason, finding.count) == (kind, reason, 1)
    assert "annotation 2 of 1.png (100x50)" in finding.example
    assert (account.objects, account.trained) == (2, 1 if kind == "dropped" else 2)


def test_less_than_a_pixel_over_the_border_is_rounding() -> None:
    assert account_of(split_with(([80.0, 10.0, 20.9, 20.0], {})), [1]).findings == ()


def test_the_numbers_are_those_of_the_chosen_images() -> None:
    big = [0.0, 0.0, 50.0, 40.0]
    account = account_of(
        split_with((GOOD, {}), (big, {"area": 2000.0}), (big, {"area": 2e4, "category_id": 90})), [1, 2]
    )
    assert (account.images, account.images_without_objects) == (2, 1)
    assert (account.smallest, account.largest) == ((100, 50), (300, 200))
    assert account.sizes == {"small": 1, "medium": 1, "large": 1}
    seen = {name: count for name, count in account.per_class.items() if count}
    assert seen == {"person": 2, "toothbrush": 1} and len(account.per_class) == 80
    assert account_of(split_with((GOOD, {})), [2]).objects == 0


def test_what_the_resize_makes_too_small_is_dropped_in_training_alone() -> None:
    split = split_with(([10.0, 10.0, 1.5, 20.0], {}))
    augmentation = dataclasses.replace(DATA.augmentation, min_box_size=1.0)
    data = dataclasses.replace(DATA, image_size=(32, 64), augmentation=augmentation)
    (finding,) = account_of(split, [1], data).findings
    assert finding.reason == "under 1 px wide or high, as it stands or once the image is 64x32 px"
    assert account_of(split, [1]).trained == 1
    assert account_of(split, [1], dataclasses.replace(data, image_size=(32, 96))).trained == 1


coordinate = st.integers(-400, 400).map(lambda value: value / 2)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.lists(coordinate, min_size=4, max_size=4), st.integers(0, 1)), max_size=8))
def test_the_account_counts_what_the_targets_hold(rows: list[tuple[list[float], int]]) -> None:
    split = split_with(*((box, {"iscrowd": crowd}) for box, crowd in rows))
    account = account_of(split, [1, 2])
    targets = build_targets(split.annotations[1], (100, 50), split.classes)
    dropped = sum(each.count for each in account.of_kind("dropped"))
    assert account.trained == len(targets.labels) == account.objects - dropped
    assert sum(account.per_class.values()) == sum(account.sizes.values()) == account.trained


def test_names_that_are_nearly_cocos_are_said() -> None:
    written = document()
    written["categories"] += [{"id": 2, "name": "bicycle"}, {"id": 5, "name": "aeroplane"}]
    split = parse_split(written, ROOT, "train")
    (finding,) = account_of(split, [3, 7]).of_kind("looks wrong")
    assert finding.count == 1 and finding.example == "id 5 is 'aeroplane', named 'airplane' in COCO"


def test_short_and_full_form(tmp_path: Path) -> None:
    rows = [(GOOD, {"iscrowd": 1}), ([0.1, 0.1, 0.5, 0.5], {}), ([99.0, 40.0, 8.0, 5.0], {})]
    account = account_of(split_with(*rows, rows[0]), [1, 2])
    short = short_lines(account)
    assert short[0] == (
        "train: 2 images (1 without objects); 2 of 4 objects in use (2 small, 0 medium, 0 large); 1 of 80 classes"
    )
    assert short[1:3] == ["train: dropped: 2 marked as crowd", "train: changed: 1 cut at the image's border"]
    assert len(short) == 4 and "annotation 2 of 1.png" in short[3]
    full = "\n".join(full_lines(account))
    for fragment in (
        "smallest image 100x50",
        "(first: annotation 1 of",
        "2  person",
        "without an object: bicycle,",
    ):
        assert fragment in full
    quiet = short_lines(account_of(split_with((GOOD, {})), [1, 2]))
    assert len(quiet) == 1, "nothing to say beside the numbers"


def test_classes_of_one_split_alone_are_said() -> None:
    both = account_of(split_with((GOOD, {}), (GOOD, {"category_id": 90})), [1])
    people = account_of(split_with((GOOD, {})), [1])
    (line,) = between_lines(both, people)
    assert line == "train: 1 of the classes of train have no object (toothbrush): they are not validated"
    assert between_lines(people, both)[0].endswith("no object (toothbrush): they cannot be learned")
    assert between_lines(both, both) == []


def test_real_images_look_right() -> None:
    split = real_coco("train")
    account = account_of(split, list(split.images))
    assert {each.reason for each in account.of_kind("dropped")} <= {"marked as crowd", "without width or height"}
    assert not account.of_kind("looks wrong")


def test_a_data_set_of_shapes_drops_its_crowd_alone(tmp_path: Path) -> None:
    split = load_split(shapes(tmp_path), "train")
    account = account_of(split, list(split.images), DATA)
    assert [(each.reason, each.count) for each in account.findings] == [("marked as crowd", 1)]
