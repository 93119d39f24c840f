"""experiments/detect.py with frameworks that compute nothing, on images of every kind."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from experiments.detect import main
from experiments.detection.differences import Difference, difference
from experiments.detection.model import classes_of_model
from experiments.detection.pictures import find_files, pictures_of
from experiments.tests.data_sets import user_error
from experiments.tests.runs import counting, said_error
from experiments.tests.steppers import CountingStepper
from frameworks.arrays import Arrays, save_arrays
from frameworks.config import preset, with_settings
from frameworks.detector import Found
from frameworks.protocol import Detections
from frameworks.state.initialisation import initial_weights

Json = dict[str, Any]


class Fixed(CountingStepper):
    """Finds a person, the same person again, a dog and something unsure, in shares of every image."""

    boxes_Q4 = np.array([[0.1, 0.1, 0.5, 0.9], [0.1, 0.1, 0.5, 0.88], [0.6, 0.2, 0.9, 0.9], [0, 0, 1, 1]])

    def __init__(
        self, moved: float = 0.0, scores: tuple[float, ...] = (0.9, 0.8, 0.5, 0.1), stop: int = -1
    ) -> None:
        super().__init__()
        self.moved, self.scores, self.stop = moved, scores, stop
        self.seen: list[Arrays] = []

    def predict(self, images: Arrays) -> Detections:
        if len(self.seen) == self.stop:
            raise KeyboardInterrupt
        self.seen.append(images)
        boxes_1Q4 = (self.boxes_Q4 * np.tile(images["sizes_wh"][0], 2) + self.moved)[None].astype(np.float32)
        labels_1Q, scores_1Q = np.array([[0, 0, 16, 2]]), np.array([self.scores], np.float32)
        return Detections({"labels": labels_1Q, "boxes": boxes_1Q4, "scores": scores_1Q}, 0.1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_arrays(path, initial_weights(preset("tiny").model, seed=0))
    return str(path)


def picture(path: Path, mode: str = "RGB", size_wh: tuple[int, int] = (40, 20)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size_wh).save(path)
    return path


def odd_images(folder: Path) -> None:
    """Ten images of all kinds of pixels and sizes, and two files that are none."""
    modes = ("1", "L", "LA", "P", "RGBA", "I;16", "RGB")
    for mode in modes:
        picture(folder / f"{modes.index(mode)}.png", mode)
    picture(folder / "7.png", size_wh=(1, 1))
    picture(folder / "8.png", size_wh=(10, 5000))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(folder / "9.jpg", exif=exif)
    (folder / "a.jpg").write_bytes((folder / "9.jpg").read_bytes()[:400])
    (folder / "b.png").write_bytes(b"no image")


def read(path: Path) -> Json:
    return json.loads(path.read_text(encoding="utf-8"))


def test_files_folders_and_patterns(tmp_path: Path) -> None:
    a, b = picture(tmp_path / "b/a.png"), picture(tmp_path / "b/图.JPG")
    deep, odd = picture(tmp_path / "b/c/d.png"), picture(tmp_path / "x[1].png")
    (tmp_path / "b/notes.txt").write_text("no image")
    assert find_files([str(tmp_path / "b"), str(a), str(odd)]) == [a, b, odd]
    assert find_files([f"{tmp_path}/b/**/*.png"]) == [a, deep]
    (tmp_path / "empty").mkdir()
    wrongs = {"empty": "holds no image", "*.gif": "no file has such a name", "z.png": "no such file"}
    for wrong, what in wrongs.items():
        user_error(partial(find_files, [str(tmp_path / wrong)]), what)


def test_images_of_every_kind_and_broken_ones(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    odd_images(folder := tmp_path / "照片")
    stepper = Fixed()
    counting(monkeypatch, torch=stepper)
    out, file = tmp_path / "out", tmp_path / "new" / "found.json"
    command = [weights, str(folder), "--preset", "tiny", "--image-size", "64x96", "--json", str(file)]
    assert main([*command, "--out", str(out)]) == 1, "two files are broken"
    said = capsys.readouterr()
    assert "a.jpg: broken image file" in said.err and "b.png: not an image" in said.err
    assert "10 images, 2 skipped; detections: PyTorch 30" in said.out
    document = read(file)
    sizes = [(each["width"], each["height"]) for each in document["images"]]
    assert sizes == [(40, 20)] * 7 + [(1, 1), (10, 5000), (20, 40)]
    assert {each["images"].shape for each in stepper.seen} == {(1, 3, 64, 96)}
    assert [Path(each).name for each in document["info"]["skipped"]] == ["a.jpg", "b.png"]
    assert sorted(each.name for each in out.iterdir()) == sorted(f"{n}-detections.png" for n in range(10))
    first = COCO(str(file)).loadAnns([1])[0]
    assert (first["category_id"], first["bbox"]) == (1, pytest.approx([4, 2, 16, 16]))
    assert [each["category_id"] for each in document["annotations"][:3]] == [1, 1, 18]


def test_both_frameworks_side_by_side(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counting(monkeypatch, torch=Fixed(), jittor=Fixed(moved=0.25, scores=(0.9, 0.75, 0.5, 0.1)))
    image, file = picture(tmp_path / "a.png"), tmp_path / "found.json"
    command = [weights, str(image), "--preset", "tiny", "--framework", "both", "--threshold", "0.5"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "a.png: PyTorch 3, Jittor 3; largest difference: score 0.05, box 0.25 px" in said
    (row,) = [line for line in said.splitlines() if line.startswith("  dog")]
    assert row.count("0.5000 [") == 2, "partners share a line"
    assert main([*command, "--json", str(file)]) == 0
    torch, jittor = (read(tmp_path / f"found-{name}.json") for name in ("torch", "jittor"))
    assert torch["images"][0]["difference"] == {
        "score": pytest.approx(0.05),
        "box_px": 0.25,
        "pairs": 3,
        "alone": 0,
    }
    moved = np.subtract(jittor["annotations"][0]["bbox"], torch["annotations"][0]["bbox"])
    assert moved.tolist() == pytest.approx([0.25, 0.25, 0, 0], abs=1e-6)


def test_an_interruption_keeps_what_was_found(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "abc":
        picture(tmp_path / "in" / f"{name}.png")
    counting(monkeypatch, torch=Fixed(stop=2))
    file = tmp_path / "found.json"
    assert main([weights, str(tmp_path / "in"), "--preset", "tiny", "--json", str(file)]) == 130
    assert [Path(each["file_name"]).name for each in read(file)["images"]] == ["a.png", "b.png"]
    assert "interrupted" in capsys.readouterr().err


def found(*detections: tuple[int, float, list[float]]) -> Found:
    """Detections from class, score and box in xyxy."""
    labels, scores, boxes = zip(*detections, strict=True) if detections else ((), (), ())
    return Found(np.array(labels, int), np.array(scores, float), np.array(boxes, float).reshape(-1, 4))


def test_partners_have_a_class_and_a_place_in_common() -> None:
    dog, cat = (16, 0.9, [0, 0, 10, 10.0]), (15, 0.8, [0, 0, 10, 10.0])
    near, far = (16, 0.7, [0, 0, 10, 12.0]), (16, 0.9, [50, 50, 60, 60.0])
    apart = difference(found(dog, cat), found(cat, near), 0.5)
    assert (apart.score, apart.box_px, apart.pairs, apart.alone) == (pytest.approx(0.2), 2.0, 2, 0)
    assert difference(found(dog), found(far, cat), 0.5) == Difference(0.0, 0.0, 0, 3)
    assert difference(found(dog), found(), 0.5) == Difference(0.0, 0.0, 0, 1)
    assert difference(found(dog), found(near), 0.8).pairs == 1, "one of the two is shown"
    assert difference(found(near), found(far), 0.8) == Difference(0.0, 0.0, 0, 1)
    empty = (16, 0.9, [5, 5, 5, 5.0])
    assert difference(found(empty), found(empty), 0.5).pairs == 1, "boxes without an area"
    assert str(difference(found(), found(), 0.5)) == "nothing to compare"


def test_classes_are_those_of_the_run(tmp_path: Path) -> None:
    spec = preset("tiny")
    assert classes_of_model(spec, tmp_path).names[16] == "dog"
    own = with_settings(spec, ["model.num_classes=2", "data.dataset=custom", "data.categories=[vest, helmet]"])
    assert classes_of_model(own, tmp_path).ids == (0, 1)
    (tmp_path / "samples.json").write_text('{"categories": {"7": "vest", "3": "helmet"}, "images": []}')
    assert classes_of_model(own, tmp_path).ids == (7, 3)
    unknown = with_settings(spec, ["model.num_classes=2", "data.dataset=custom"])
    assert classes_of_model(unknown, tmp_path).names == ("class 0", "class 1")


def test_mistakes_are_one_line(weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = str(picture(tmp_path / "in/a.png"))
    for arguments, what in (
        ([weights, image, "--threshold", "3"], "expected a score from 0 to 1"),
        ([weights, image, "--stride", "0"], "expected 1 or more"),
        ([weights, image, "--out", str(tmp_path / "in")], "folder of the images"),
        ([weights, image, "--json", str(tmp_path)], "is a folder"),
        ([str(tmp_path), image], "no run folder"),
        ([str(tmp_path / "none.pth"), image], "no such file"),
        ([weights, image, "--preset", "rtdetr_r18vd"], "does not fit"),
        ([weights, str(tmp_path / "absent.png")], "no such file"),
    ):
        assert main(arguments) == 2, arguments
        said_error(capsys, what)


def test_a_video_without_its_package_is_one_line(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "av", None)
    assert main([weights, str(tmp_path / "a.mp4")]) == 2
    said_error(capsys, "pip install -e '.[video]'")


def video(path: Path, degrees: int = 0) -> Path:
    """Five frames, 64 px wide and 32 px high, ever brighter in their left half, to be turned by ``degrees``."""
    av = pytest.importorskip("av", reason="the extra video is not installed")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        stream.set_display_rotation(degrees)
        for grey in range(0, 250, 50):
            image = Image.new("RGB", (64, 32))
            image.paste((grey, grey, grey), (0, 0, 32, 32))
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode(None))
    return path


def test_frames_of_a_video(tmp_path: Path) -> None:
    path = video(tmp_path / "影片.mp4")
    taken = list(pictures_of(path, stride=2))
    assert [each.stem for each in taken] == ["影片-000000", "影片-000002", "影片-000004"]
    assert [each.image.size for each in taken] == [(64, 32)] * 3
    greys = [np.asarray(each.image)[:, :32].mean() for each in taken]
    assert greys == pytest.approx([0, 100, 200], abs=12)
    (turned,) = pictures_of(video(tmp_path / "turned.mp4", degrees=90), stride=5)
    assert turned.image.size == (32, 64)
    last = list(pictures_of(tmp_path / "turned.mp4", stride=4))[-1].image
    assert np.asarray(last)[32:].mean() > 150 > np.asarray(last)[:32].mean(), "counter-clockwise: left is below"
    path.write_bytes(path.read_bytes()[:200])
    user_error(lambda: list(pictures_of(path, stride=1)), "cannot be read as a video")
