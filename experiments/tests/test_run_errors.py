"""What people get wrong, and what breaks under them: one line, exit status 2, nothing left in the way."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from experiments.data.coco import annotation_path
from experiments.run import main
from experiments.runs import checkpoint, folder
from experiments.tests.data_sets import shapes
from experiments.tests.runs import TORCH, counting, resume, run, said_error, steps
from experiments.tests.steppers import CountingStepper
from frameworks.arrays import Arrays
from frameworks.errors import UserError

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes(tmp_path_factory.mktemp("data"), train=5, val=3)


@pytest.fixture
def own(root: Path, tmp_path: Path) -> Path:
    """A copy of the data to spoil."""
    shutil.copytree(root, tmp_path / "own")
    return tmp_path / "own"


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ([], ["--subset N is needed"]),
        (["--subset", "0"], ["--subset is 0", "1 or more"]),
        (["--subset", "many"], ["--subset", "'many'", "--help"]),
        (["--subset", "6"], ["6 images asked for", "has 5"]),
        (["--subset", "5", "--epochs", "0"], ["--epochs is 0"]),
        (["--subset", "5", "--seed", "-1"], ["--seed is -1"]),
        (["--subset", "5", "--batch-size", "9"], ["--batch-size 9", "--subset 5"]),
        (["--subset", "5", "--image-size", "100"], ["image_size", "100", "multiples of 32"]),
        (["--subset", "5", "--image-size", "wide"], ["--image-size", "'wide'", "320x640"]),
        (["--subset", "5", "--preset", "rtdetr_r18vd", "--image-size", "64"], ["64x64 has 84 tokens", "300"]),
        (["--subset", "5", "--recipe", "quik"], ["'quik'", "Did you mean 'quick'?"]),
        (["--subset", "5", "-u", "recipe.epoch=3"], ["'recipe.epoch'", "Did you mean 'recipe.epochs'?"]),
        (["--subset", "5", "--preset", "tinny"], ["'tinny'", "Did you mean 'tiny'?"]),
        (["--subset", "5", "--preset", "rtdetrv2_r18vd_voc"], ["rtdetrv2_r18vd_voc", "Pascal VOC", "--data"]),
        (["--subset", "5", "--frameworks", "torch,jitter"], ["'jitter'", "Did you mean 'jittor'?"]),
        (["--subset", "5", "--frameworks", "torch,torch"], ["one twice"]),
        (["--subset", "5", "--device", "tpu"], ["--device", "'tpu'"]),
        (["--subset", "5", "--kernels", "quick"], ["--kernels", "'quick'"]),
        (["--subset", "5", "--sede", "1"], ["--sede"]),
        (["--subset", "5", "--python", "/usr/bin/python3"], ["NAME=PATH"]),
        (["--subset", "5", "--python", "jittor=/nowhere/python"], ["/nowhere/python", "no such program"]),
        (["--subset", "5", "--python", f"tensorflow={sys.executable}"], ["'tensorflow'", "--frameworks"]),
        (["--subset", "5", "--python", f"torch={sys.executable}", "--in-process"], ["--in-process"]),
    ],
)
def test_arguments(root: Path, tmp_path: Path, capsys: Capture, arguments: list[str], fragments: list[str]) -> None:
    preset = [] if "--preset" in arguments else ["--preset", "tiny"]
    assert main([*arguments, *preset, "--data", str(root), "--out", str(tmp_path / "run")]) == 2
    said_error(capsys, *fragments)
    assert not (tmp_path / "run").exists()


def test_data(own: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "run"
    assert run(tmp_path / "absent", out) == 2
    said_error(capsys, "absent", "no folder")

    annotations = annotation_path(own, "val")
    good = annotations.read_text()
    annotations.write_text(good[:-20])
    assert run(own, out) == 2
    said_error(capsys, annotations, "no JSON object")

    document = json.loads(good)
    document["annotations"][0]["category_id"] = 12
    annotations.write_text(json.dumps(document))
    assert run(own, out) == 2
    said_error(capsys, annotations, "annotation 1", "category 12")

    annotations.write_text(good)
    image = sorted((own / "train2017").iterdir())[-1]
    image.write_bytes(image.read_bytes()[:-300])
    assert run(own, out) == 2
    said_error(capsys, image, "broken image file")
    assert not out.exists(), "nothing was begun"


def test_an_image_that_breaks_during_the_training(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    images = sorted((own / "train2017").iterdir())

    def spoil(number: int) -> None:
        if number == 2:
            for image in images:
                image.write_bytes(b"")

    counting(monkeypatch, torch=CountingStepper(spoil))
    assert run(own, tmp_path / "run", *TORCH, epochs=4) == 2
    said_error(capsys, own / "train2017", "not an image", f"--resume {tmp_path / 'run'}")
    assert steps(tmp_path / "run"), "what was done is kept"


def test_a_folder_that_cannot_be_written(root: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        assert run(root, out) == 2
        said_error(capsys, out, "cannot be written", "--out")
    assert (tmp_path / "file").read_text() == "in the way"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("irreplaceable")
    assert run(root, tmp_path / "full") == 2
    said_error(capsys, tmp_path / "full", "is not empty")
    assert (tmp_path / "full" / "thesis.tex").read_text() == "irreplaceable"


def test_a_preparation_that_was_killed_is_not_in_the_way(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    for name in (".lock", "manifest_train.json", ".run.json.x1y2", "initial.safetensors.part"):
        (out / name).write_text("half")
    (out / "thesis.tex").write_text("irreplaceable")
    assert run(root, out) == 2
    said_error(capsys, out, "is not empty")
    (out / "thesis.tex").unlink()
    counting(monkeypatch, torch=CountingStepper())
    assert run(root, out, *TORCH) == 0


def test_a_disk_without_room(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(folder.shutil, "disk_usage", lambda path: usage)
    assert run(root, tmp_path / "run") == 2
    said_error(capsys, "1 MB are free", "free some space")
    assert not (tmp_path / "run").exists()


def test_a_disk_that_fills_up_on_the_way(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    out = tmp_path / "run"

    def full(path: Path, arrays: Arrays, metadata: dict[str, str]) -> None:
        raise UserError(f"cannot write {path}: No space left on device; free some space or choose another folder")

    counting(monkeypatch, torch=CountingStepper())
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_arrays", full)
        assert run(root, out, *TORCH) == 2
    said_error(capsys, "checkpoint.safetensors", "No space left", "--resume")
    assert not list((out / "torch").glob("checkpoint*"))

    counting(monkeypatch, torch=CountingStepper())
    assert resume(out) == 0, "and with space it goes on"
    assert [each["step"] for each in steps(out)] == [0, 1, 2, 3]
