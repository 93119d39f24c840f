"""Reading COCO's annotation files: what is right is kept, what is wrong is named."""

import json
import shutil
from pathlib import Path

import pytest

from experiments.data.categories import COCO_NAMES
from experiments.data.coco import annotation_path, image_folder, load_split, parse_split
from experiments.data.splits import load_splits
from experiments.data.values import AS_TEXT
from experiments.tests.data_sets import ROOT, annotation, document, real_coco, shapes, user_error, write


def test_a_split_is_read_whole_and_in_the_order_of_ids(tmp_path: Path) -> None:
    split = load_split(write(tmp_path / "set", document()), "train")
    assert list(split.images) == [3, 7]
    assert [each.id for each in split.annotations[3]] == [1, 2]
    assert split.annotations[3][0].bbox_xywh == (5, 5, 10, 20)
    assert [each.iscrowd for each in split.annotations[7]] == [True]
    assert split.categories == {1: "person", 90: "toothbrush"}


def test_a_split_that_is_not_needed_may_be_missing(tmp_path: Path) -> None:
    root = shapes(tmp_path, train=2, val=2)
    assert list(load_splits(root, needed=("val",))) == ["train", "val"], "what is there is checked, too"
    whole = load_splits(root)["val"].classes
    shutil.rmtree(image_folder(root, "train"))
    alone = load_splits(root, needed=("val",))
    assert list(alone) == ["val"] and alone["val"].classes == whole
    user_error(lambda: load_splits(root), "train2017")


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
        ("annotations", {"bbox": [1, 2, 3]}, "malformed"),
        ("annotations", {"bbox": None}, "malformed"),
        ("annotations", {"bbox": [1, 2, float("nan"), 3]}, "not finite"),
        ("annotations", {"image_id": "three"}, "image_id is 'three', expected an integer"),
        ("annotations", {"image_id": 3.5}, "image_id is 3.5, expected an integer"),
        ("annotations", {"id": None}, "id is None, expected an integer"),
        ("annotations", {"id": True}, "id is True, expected an integer"),
        ("annotations", {"bbox": [1, 2, True, 3]}, "True, expected a number"),
        ("annotations", {"bbox": [1, 2, "wide", 3]}, "'wide'"),
        ("annotations", {"bbox": [1, 2, "nan", 3]}, "not finite"),
        ("annotations", {"area": None}, "None, expected a number"),
        ("annotations", {"iscrowd": "no"}, "annotations[1] is malformed (iscrowd is 'no', expected 0 or 1)"),
        ("annotations", {"iscrowd": 2}, "iscrowd is 2, expected 0 or 1"),
        ("annotations", {"iscrowd": None}, "iscrowd is None, expected 0 or 1"),
        ("annotations", {"image_id": 10**400}, "image_id has more than 64 bits"),
        ("annotations", {"image_id": "9" * 5000}, "malformed"),
        ("annotations", {"id": 2**63}, "id has more than 64 bits"),
        ("annotations", {"bbox": [1, 2, 10**400, 3]}, "malformed"),
        ("categories", {"name": "tele\ud83d"}, "has half of a letter"),
        ("images", {"width": 1e300}, "width has more than 64 bits"),
        ("images", {"id": 7}, "image id 7 occurs twice"),
        ("images", {"width": 0}, "0x50"),
        ("images", {"file_name": "../a.png"}, "inside"),
        ("images", {"file_name": ""}, "inside"),
        ("categories", {"id": 90}, "category id 90 occurs twice"),
        ("categories", {"id": -1}, "id is -1, expected 0 or more"),
        ("categories", {"name": None}, "name is None, expected text"),
        ("categories", {"name": "toothbrush"}, "are both named 'toothbrush'"),
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


def test_numbers_and_flags_are_read_as_what_they_are_and_counted() -> None:
    plain = parse_split(document(), ROOT, "train")
    written = document()
    for row in written["annotations"]:
        row["bbox"] = [str(value) for value in row["bbox"]]
        row |= {key: f"{row[key]}.0" for key in ("id", "image_id")} | {"category_id": float(row["category_id"])}
        row["iscrowd"] = {0: "false", 1: "1"}[row["iscrowd"]]
    read = parse_split(written, ROOT, "train")
    assert read.annotations == plain.annotations and read.images == plain.images
    assert repr(read.annotations) == repr(plain.annotations), "and so are the hashes of manifests"
    found = {each.reason: each.count for each in read.findings}
    assert found == {AS_TEXT: 3 * (4 + 2 + 1), "whole numbers written with a decimal point": 3}
    assert plain.findings == ()


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([0, 1, 2], [3, 1, 2]),
        ([5, 5, 5], [5, 6, 7]),
        ([None, None, 1], [2, 3, 1]),
        ([-3, 8, 0], [9, 8, 10]),
    ],
)
def test_annotation_ids_that_cannot_stay_are_replaced(ids: list[int | None], expected: list[int]) -> None:
    written = document()
    for row, id_ in zip(written["annotations"], ids, strict=True):
        row.pop("id")
        row |= {} if id_ is None else {"id": id_}
    split = parse_split(written, ROOT, "train")
    boxes = {each.bbox_xywh: each.id for found in split.annotations.values() for each in found}
    assert [boxes[tuple(row["bbox"])] for row in written["annotations"]] == expected
    (finding,) = split.findings
    assert finding.count == sum(each not in ids for each in expected) and finding.kind == "changed"


LAYOUTS = (
    ("annotations/instances_{}2017.json", "{}2017", "val"),
    ("annotations/instances_{}.json", "{}", "val"),
    ("annotations/instances_{}.json", "images", "val"),
    ("{}/_annotations.coco.json", "{}", "valid"),
)


@pytest.mark.parametrize(("annotations", "images", "val"), LAYOUTS)
def test_the_layouts_that_people_have(tmp_path: Path, annotations: str, images: str, val: str) -> None:
    for word in ("train", val):
        path, folder = tmp_path / annotations.format(word), tmp_path / images.format(word)
        for each in (path.parent, folder):
            each.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document()))
    for name, word in (("train", "train"), ("val", val)):
        split = load_split(tmp_path, "val" if name == "val" else "train")
        assert split.annotation_file == tmp_path / annotations.format(word)
        assert split.image_folder == tmp_path / images.format(word)
