"""The commands that show and time the augmentation."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.benchmarks import images
from experiments.data import contact_sheet
from experiments.tests.data_sets import shapes
from experiments.tests.runs import said_error


def test_a_contact_sheet_shows_boxes_and_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--data", str(shapes(tmp_path)), "--tiles", "5", "--side", "64", "--out", str(tmp_path / "a.png")]
    assert contact_sheet.main(command) == 0
    assert str(tmp_path / "a.png") in capsys.readouterr().out
    sheet = Image.open(tmp_path / "a.png")
    assert sheet.size == (3 * 64 + 2 * 4, 2 * 64 + 4)
    pixels_HW3 = np.asarray(sheet)
    tiles = [pixels_HW3[y : y + 64, x : x + 64] for y in (0, 68) for x in (0, 68, 136)]
    assert len({tile.tobytes() for tile in tiles}) == 6, "five different ones, and the empty place"
    colours = {tuple(int(each[i : i + 2], 16) for i in (1, 3, 5)) for each in contact_sheet._COLOURS}
    assert colours & {tuple(pixel) for pixel in tiles[0].reshape(-1, 3).tolist()}, "no box is drawn"


def test_wrong_arguments_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--data", str(shapes(tmp_path)), "--out", str(tmp_path / "a.png")]
    assert contact_sheet.main([*command, "--tiles", "0"]) == 2
    said_error(capsys, "0 tiles")
    assert contact_sheet.main([*command, "--image", "99"]) == 2
    said_error(capsys, "image id 99")
    assert contact_sheet.main([*command[:2], "--tiles", "1", "--out", str(tmp_path / "none" / "a.png")]) == 2
    said_error(capsys, "cannot be written")


def test_images_per_second_are_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--image-size", "32", "--workers", "1", "--images", "9"]
    assert images.main(["--data", str(shapes(tmp_path)), *sizes]) == 0
    rows = [line.split("|")[1:5] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [[cell.strip() for cell in row[:3]] for row in rows] == [["flip", "32", "1"], ["official", "32", "1"]]
    assert all(float(row[3]) > 0 for row in rows)
