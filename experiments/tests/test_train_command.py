"""experiments/train.py and experiments/evaluate.py: checkpoints, and the same AP again to the digit."""

import contextlib
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.evaluate import main as evaluate
from experiments.runs.board import open_board
from experiments.tests.data_sets import shapes, user_error
from experiments.tests.runs import meta, rows, said_error
from experiments.train import main as train
from frameworks.arrays import load_arrays
from reports.run.records import read_run

pytestmark = [
    pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad:UserWarning"),
    pytest.mark.usefixtures("one_thread"),
]
Capture = pytest.CaptureFixture[str]
TINY = ("--framework", "torch", "-c", "tiny", "--image-size", "64", "--batch-size", "2", "--in-process")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes(tmp_path_factory.mktemp("data"), train=5, val=3)


@pytest.fixture(scope="module")
def trained(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs on all images, validated and kept after each."""
    out = tmp_path_factory.mktemp("runs") / "trained"
    watched = ("--validate-every", "1", "--keep-every", "1")
    assert train([*TINY, "--data", str(root), "--epochs", "3", "--output-dir", str(out), *watched]) == 0
    return out


def test_all_images_are_trained_on_and_every_checkpoint_is_there(trained: Path) -> None:
    said = meta(trained)
    assert (said["data"]["train_images"], said["data"]["val_images"]) == (5, 3)
    assert said["command"].startswith("python experiments/train.py --framework torch")
    names = {path.name for path in (trained / "torch").glob("*.safetensors")}
    kept = {f"epoch_000{epochs}.safetensors" for epochs in (1, 2, 3)}
    assert names == {"checkpoint.safetensors", "best.safetensors", *kept}
    evaluated = [(row["epoch"], row["split"]) for row in rows(trained / "torch" / "evaluation.jsonl")]
    assert evaluated == [(0, "val"), (1, "val"), (2, "train"), (2, "val")]
    assert read_run(trained).complete and not read_run(trained).notes


def test_the_best_checkpoint_is_that_of_the_highest_validated_ap(trained: Path) -> None:
    folder = trained / "torch"
    precision = [row["stats"]["AP"] for row in rows(folder / "evaluation.jsonl") if row["split"] == "val"]
    best = load_arrays(folder / f"epoch_000{int(np.argmax(precision)) + 1}.safetensors")
    kept = load_arrays(folder / "best.safetensors")
    assert all(np.array_equal(array, best[name]) for name, array in kept.items())


def results(out: Path, split: str = "val", framework: str = "torch") -> dict[str, float]:
    return json.loads((out / "evaluation.json").read_text())["frameworks"][framework]["stats"]


def recorded(trained: Path, split: str) -> dict[str, float]:
    (row,) = [
        row for row in rows(trained / "torch" / "evaluation.jsonl") if (row["epoch"], row["split"]) == (2, split)
    ]
    return row["stats"]


def test_only_testing_gives_the_same_numbers_to_the_digit(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    before = sorted(path.name for path in (trained / "torch").iterdir())
    assert train(["--resume", str(trained), "--test-only", "--out", str(tmp_path / "out")]) == 0
    assert results(tmp_path / "out") == recorded(trained, "val")
    predictions = "torch/predictions_val.json"
    assert (tmp_path / "out" / predictions).read_bytes() == (trained / predictions).read_bytes()
    table = capsys.readouterr().out
    assert "AP50" in table and f"predictions: {tmp_path / 'out'}" in table
    assert sorted(path.name for path in (trained / "torch").iterdir()) == before


def test_a_checkpoint_alone_says_what_it_is(trained: Path, root: Path, tmp_path: Path) -> None:
    moved = tmp_path / "anywhere.safetensors"
    moved.write_bytes((trained / "torch" / "checkpoint.safetensors").read_bytes())
    options = ["--data", str(root), "--split", "train", "--in-process", "--out", str(tmp_path / "out")]
    assert evaluate([str(moved), *options]) == 0
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert (record["image_size"], record["batch_size"], record["images"]) == ([64, 64], 2, 5)
    assert results(tmp_path / "out") == recorded(trained, "train")


def test_a_checkpoint_in_its_run_has_the_data_and_the_framework_of_the_run(trained: Path, tmp_path: Path) -> None:
    assert evaluate([str(trained / "torch" / "checkpoint.safetensors"), "--out", str(tmp_path / "out")]) == 0
    assert results(tmp_path / "out") == recorded(trained, "val")


def test_weights_of_a_named_model(trained: Path, root: Path, tmp_path: Path, capsys: Capture) -> None:
    weights, out = trained / "initial.safetensors", tmp_path / "out"
    given = ["--data", str(root), "--subset", "2", "--in-process", "--out", str(out)]
    assert train(["--framework", "torch", "-c", "tiny", "-t", str(weights), "--test-only", *given]) == 0
    assert json.loads((out / "evaluation.json").read_text())["images"] == 2
    assert evaluate([str(weights), "--data", str(root), "-c", "rtdetr_r18vd", "--out", str(tmp_path / "b")]) == 2
    said_error(capsys, weights, "does not fit rtdetr_r18vd")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--data", "DATA"], ["--framework is needed", "torch, jittor"]),
        (["--framework", "torch"], ["--data DIR", "--subset N"]),
        (["--framework", "torch", "-r", "RUN", "-t", "w.pth"], ["--tuning", "--resume", "one of the two"]),
        (["--framework", "torch", "--weights", "a", "-t", "w.pth"], ["--tuning", "--weights", "one of the two"]),
        (["--framework", "jittor", "--use-amp"], ["--use-amp", "jittor", "mixed precision", "torch alone"]),
        (["--framework", "torch", "--use-amp", "--test-only", "-t", "w.pth"], ["--use-amp", "--test-only"]),
        (["--test-only", "-t", "w.pth", "-u", "data.batch_size=8"], ["--test-only", "leave out --update"]),
        (["-r", "RUN", "--use-amp"], ["--resume", "leave out --use-amp"]),
        (["--framework", "jittor", "-r", "RUN"], ["--framework jittor", "trains torch"]),
        (["-r", "RUN", "--seed", "1"], ["--resume", "leave out --seed"]),
        (["--framework", "torch", "--test-only"], ["--test-only", "--tuning"]),
        (["--framework", "jittor", "-r", "RUN", "--test-only"], ["no last checkpoint of jittor", "one of torch"]),
        (
            ["--framework", "torch", "--data", "DATA", "--batch-size", "6", "-c", "tiny"],
            ["5 training images", "--batch-size"],
        ),
        (["--framework", "torch", "--data", "DATA", "--keep-every", "-1"], ["--keep-every is -1"]),
        (["-r", "DATA", "--test-only"], ["no run.json", "run folder"]),
    ],
)
def test_arguments(
    trained: Path,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    arguments: list[str],
    fragments: list[str],
) -> None:
    monkeypatch.delenv("COCO_ROOT", raising=False)
    named = {"RUN": str(trained), "DATA": str(root)}
    given = [named.get(each, each) for each in arguments]
    out = [] if "-r" in given else ["--out", str(tmp_path / "run")]
    assert train([*given, *out]) == 2
    said_error(capsys, *fragments)
    assert not (tmp_path / "run").exists()


class FakeWriter:
    """As tensorboardX.SummaryWriter; it keeps what it gets."""

    last: "FakeWriter"

    def __init__(self, folder: str, purge_step: int) -> None:
        self.folder, self.purge_step, self.scalars, self.closed = folder, purge_step, [], False
        FakeWriter.last = self

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def tuned(trained: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run that begins with a checkpoint of the other, with TensorBoard; and what it said."""
    out, said = tmp_path_factory.mktemp("runs") / "tuned", io.StringIO()
    given = ["-t", str(trained / "torch" / "best.safetensors"), "--epochs", "3", "--tensorboard"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        patch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=FakeWriter))
        watched = ("--validate-every", "2", "--data", str(root), "--out", str(out))
        assert train([*TINY, *given, *watched]) == 0
    return out, said.getvalue()


def test_tuning_begins_with_the_averaged_weights_of_a_checkpoint(trained: Path, tuned: tuple[Path, str]) -> None:
    initial = load_arrays(tuned[0] / "initial.safetensors")
    state = load_arrays(trained / "torch" / "best.safetensors")
    average = {name: array for name, array in state.items() if name.startswith("ema/")}
    assert average and all(np.array_equal(array, initial[name[4:]]) for name, array in average.items())


def test_a_run_says_what_it_trains_and_how_long_that_takes(tuned: tuple[Path, str]) -> None:
    said = tuned[1]
    assert "trained parameters: backbone 53,656 at lr 0.0004, encoder" in said
    assert "3 epochs of 2 steps with 2 images of 64x64 px, in torch on cpu" in said
    assert "torch: about 0 s for the remaining 1 steps" in said
    assert "torch evaluating val after epoch 2: loss " in said


def test_tensorboard_gets_every_step_and_evaluation(tuned: tuple[Path, str]) -> None:
    writer, folder = FakeWriter.last, tuned[0] / "torch"
    assert (writer.folder, writer.purge_step, writer.closed) == (str(folder / "tensorboard"), 0, True)
    totals = [(value, step) for name, value, step in writer.scalars if name == "loss/total"]
    assert totals == [(row["total"], row["step"]) for row in rows(folder / "steps.jsonl")]
    assert [step for name, _, step in writer.scalars if name == "val/AP"] == [4, 6]
    assert [step for name, _, step in writer.scalars if name == "val/loss_vfl"] == [4, 6]


def test_tensorboard_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    user_error(lambda: open_board(tmp_path, 0), "--tensorboard", "tensorboardX", "pip install")
