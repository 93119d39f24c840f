"""The built-in shapes: deterministic, in COCO's format, truly annotated, and never to be mistaken for COCO."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.data.coco import annotation_path, load_split
from experiments.data.images import load_annotated
from experiments.data.shapes import DESCRIPTION, MARKER, SHAPES, write_shapes
from experiments.tests.data_sets import shapes, user_error


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_shapes(tmp_path / name, train=4, val=2, seed=5)
    write_shapes(tmp_path / "other", train=4, val=2, seed=6)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert contents(tmp_path / "one") != contents(tmp_path / "other")


def test_a_larger_set_begins_with_the_smaller(tmp_path: Path) -> None:
    small, large = contents(shapes(tmp_path, 2, 2)), contents(shapes(tmp_path, 5, 4))
    pictures = {name: data for name, data in small.items() if name.endswith(".png")}
    assert pictures.items() <= large.items()


@pytest.mark.parametrize("name", ["train", "val"])
def test_every_peculiarity_is_there(tmp_path: Path, name: str) -> None:
    split = load_split(shapes(tmp_path, 6, 6), "train" if name == "train" else "val")
    per_image = list(split.annotations.values())
    assert len(per_image) == 6 and per_image[1] == ()
    assert [sum(each.iscrowd for each in found) for found in per_image] == [0, 0, 1, 0, 0, 0]
    modes = []
    for image in split.images.values():
        with Image.open(split.image_folder / image.file_name) as opened:
            modes.append(opened.mode)
    assert modes == ["RGB", "RGB", "RGB", "L", "RGB", "RGB"]
    assert all(200 <= side <= 400 for image in split.images.values() for side in (image.width, image.height))
    assert sum(map(len, per_image)) >= 10 and set(split.categories) == set(SHAPES)


def painted(pixels_HW3: np.ndarray) -> np.ndarray:
    """[H, W] bool, where the image is not background: the background is one colour plus a known gradient."""
    height = len(pixels_HW3)
    flat_HW3 = pixels_HW3.astype(int) - (np.arange(height) * 20 // height)[:, None, None]
    colours, counts = np.unique(flat_HW3.reshape(-1, 3), axis=0, return_counts=True)
    return (flat_HW3 != colours[counts.argmax()]).any(axis=2)


def test_boxes_hold_the_objects_and_nothing_else(tmp_path: Path) -> None:
    split = load_split(shapes(tmp_path, 14, 1), "train")
    for image_id, annotations in split.annotations.items():
        painted_HW = painted(np.asarray(load_annotated(split, image_id)))
        for each in annotations:
            x, y, width, height = (int(value) for value in each.bbox_xywh)
            inside_HW = painted_HW[y : y + height, x : x + width]
            for edge in (inside_HW[0], inside_HW[-1], inside_HW[:, 0], inside_HW[:, -1]):
                assert edge.any(), (image_id, each)
            assert inside_HW.sum() == each.area
            painted_HW[y : y + height, x : x + width] = False
        assert not painted_HW.any(), image_id


def test_the_folder_says_what_it_is(tmp_path: Path) -> None:
    root = shapes(tmp_path)
    assert DESCRIPTION in (root / MARKER).read_text() and "not COCO" in DESCRIPTION
    assert json.loads(annotation_path(root, "val").read_text())["info"]["description"] == DESCRIPTION


@pytest.mark.parametrize(("train", "val"), [(0, 1), (1, -2)])
def test_counts_below_one(tmp_path: Path, train: int, val: int) -> None:
    user_error(lambda: write_shapes(tmp_path / "x", train=train, val=val, seed=0), "expected 1 or more")
    assert not any(tmp_path.iterdir())


def test_folders_in_use_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    user_error(lambda: write_shapes(tmp_path, train=1, val=1, seed=0), tmp_path, "not empty")
    user_error(lambda: write_shapes(tmp_path / "mine.txt", train=1, val=1, seed=0), tmp_path / "mine.txt")
    user_error(lambda: write_shapes(tmp_path / "mine.txt" / "x", train=1, val=1, seed=0), "cannot write")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_interrupted_writer_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("experiments.data.shapes.write_atomically", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_shapes(tmp_path / "x", train=2, val=1, seed=0)
    assert not any(tmp_path.iterdir())
