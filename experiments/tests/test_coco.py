"""Reading COCO's annotation files: what is right is kept, what is wrong is named."""

import json
from pathlib import Path

import pytest

from experiments.data.categories import (
    COCO_CATEGORY_IDS,
    COCO_CATEGORY_NAMES,
    COCO_NAMES,
    category_to_label,
    label_to_category,
)
from experiments.data.coco import annotation_path, image_folder, load_split, parse_split
from experiments.tests.data_sets import ROOT, annotation, document, real_coco, user_error, write


def test_a_split_is_read_whole_and_in_the_order_of_ids(tmp_path: Path) -> None:
    split = load_split(write(tmp_path / "set", document()), "train")
    assert list(split.images) == [3, 7]
    assert [each.id for each in split.annotations[3]] == [1, 2]
    assert split.annotations[3][0].bbox_xywh == (5, 5, 10, 20)
    assert [each.iscrowd for each in split.annotations[7]] == [True]
    assert split.categories == {1: "person", 90: "toothbrush"}


def test_labels_are_the_official_ones() -> None:
    absent = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}  # ids COCO skipped between 1 and 90
    assert list(COCO_CATEGORY_IDS) == [each for each in range(1, 91) if each not in absent]
    assert [category_to_label(each) for each in COCO_CATEGORY_IDS] == list(range(80))
    assert [label_to_category(label) for label in range(80)] == list(COCO_CATEGORY_IDS)
    assert COCO_CATEGORY_NAMES[category_to_label(13)] == "stop sign" == COCO_NAMES[13]


def test_the_table_of_names_is_that_of_the_real_file() -> None:
    assert dict(real_coco("val").categories) == COCO_NAMES


def test_every_real_annotation_is_read() -> None:
    split = real_coco("train")
    rows = json.loads(split.annotation_file.read_text())["annotations"]
    read = {each.id: each for found in split.annotations.values() for each in found}
    assert len(read) == len(rows)
    for row in rows:
        each = read[row["id"]]
        assert (each.image_id, each.category_id, each.iscrowd) == (
            row["image_id"],
            row["category_id"],
            row["iscrowd"],
        )
        assert list(each.bbox_xywh) == row["bbox"]


@pytest.mark.parametrize("label", [-1, 80])
def test_unknown_labels(label: int) -> None:
    user_error(lambda: label_to_category(label), f"label {label}", "0..79")


@pytest.mark.parametrize("category", [0, 12, 91])
def test_unknown_categories(category: int) -> None:
    user_error(lambda: category_to_label(category), f"category id {category}")


def test_missing_folders_and_files(tmp_path: Path) -> None:
    user_error(lambda: load_split(tmp_path / "absent", "train"), tmp_path / "absent", "no such folder")
    user_error(lambda: load_split(tmp_path, "test"), "split 'test'")  # pyright: ignore[reportArgumentType]
    user_error(lambda: load_split(tmp_path, "val"), image_folder(tmp_path, "val"))
    image_folder(tmp_path, "val").mkdir()
    user_error(lambda: load_split(tmp_path, "val"), annotation_path(tmp_path, "val"), "cannot read")


@pytest.mark.parametrize("text", ["{", "[]", "", "\x00", "[" * 100_000, "\udcff"])
def test_broken_json(tmp_path: Path, text: str) -> None:
    root = write(tmp_path / "set", document())
    annotation_path(root, "train").write_bytes(text.encode(errors="surrogateescape"))
    user_error(lambda: load_split(root, "train"), annotation_path(root, "train"), "JSON")


@pytest.mark.parametrize(
    ("list_name", "key"),
    [
        ("images", "width"),
        ("images", "file_name"),
        ("annotations", "bbox"),
        ("annotations", "area"),
        ("categories", "id"),
    ],
)
def test_missing_keys(list_name: str, key: str) -> None:
    written = document()
    del written[list_name][1][key]
    user_error(lambda: parse_split(written, ROOT, "train"), f"{list_name}[1] has no '{key}'")
    del written[list_name]
    user_error(lambda: parse_split(written, ROOT, "train"), f"'{list_name}' is missing")


@pytest.mark.parametrize(
    ("list_name", "change", "fragment"),
    [
        ("annotations", {"category_id": 2}, "category 2"),
        ("annotations", {"image_id": 99}, "image 99"),
        ("annotations", {"id": 2}, "annotation 2 occurs twice"),
        ("annotations", {"id": 0}, "no match"),
        ("annotations", {"bbox": [1, 2, 3]}, "malformed"),
        ("annotations", {"bbox": None}, "malformed"),
        ("annotations", {"bbox": [1, 2, float("nan"), 3]}, "not finite"),
        ("annotations", {"image_id": "3"}, "expected an integer"),
        ("images", {"id": 7}, "image id 7 occurs twice"),
        ("images", {"width": 0}, "0x50"),
        ("images", {"file_name": "../a.png"}, "inside"),
        ("images", {"file_name": ""}, "inside"),
        ("categories", {"id": 91}, "not used"),
        ("categories", {"name": "helmet"}, "in COCO it is 'person'"),
    ],
)
def test_wrong_values(list_name: str, change: dict[str, object], fragment: str) -> None:
    written = document()
    written[list_name][1] |= change
    user_error(lambda: parse_split(written, ROOT, "train"), annotation_path(ROOT, "train"), fragment)


def test_degenerate_structures() -> None:
    user_error(lambda: parse_split(document() | {"images": []}, ROOT, "train"), "'images' is empty")
    user_error(lambda: parse_split(document() | {"images": {"id": 1}}, ROOT, "train"), "'images' is not a list")
    user_error(lambda: parse_split(document() | {"annotations": [5]}, ROOT, "train"), "annotations[0] is malformed")


def test_a_data_set_without_objects_is_allowed_and_an_absent_crowd_flag_is_none() -> None:
    assert parse_split(document() | {"annotations": []}, ROOT, "train").annotations == {3: (), 7: ()}
    plain = annotation(1, 3, 1, [0.0, 0.0, 1.0, 1.0])
    del plain["iscrowd"]
    split = parse_split(document() | {"annotations": [plain]}, ROOT, "train")
    assert not split.annotations[3][0].iscrowd
