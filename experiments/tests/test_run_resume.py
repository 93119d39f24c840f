"""Runs that are cut off go on bit for bit, and only as the experiment that they were."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.data.coco import annotation_path
from experiments.run import main
from experiments.runs import training_loop
from experiments.runs.extend import consequence
from experiments.runs.folder import Run
from experiments.runs.host import ROOT
from experiments.tests.data_sets import shapes
from experiments.tests.runs import TORCH, counting, meta, resume, rows, run, said_error, steps
from experiments.tests.steppers import CountingStepper
from frameworks.arrays import load_arrays
from frameworks.config import preset
from reports.run.records import read_run

pytestmark = [
    pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad:UserWarning"),
    pytest.mark.usefixtures("one_thread"),
]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes(tmp_path_factory.mktemp("data"), train=6, val=3)


def command(root: Path, out: Path, epochs: int) -> list[str]:
    door = [sys.executable, str(ROOT / "experiments" / "run.py")]
    options = ["--preset", "tiny", "--subset", "5", "--data", str(root), "--out", str(out)]
    return [*door, *options, "--epochs", str(epochs), "--image-size", "64", "--batch-size", "2", *TORCH]


def until(condition: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


def test_a_run_killed_within_epochs_goes_on_bit_for_bit(root: Path, tmp_path: Path) -> None:
    """Two kills; `nox -s resume` does many more, in both frameworks."""
    out = tmp_path / "killed"
    options = ["--checkpoint-minutes", "0", "--validate-every", "5"]
    line = [*command(root, out, epochs=12), *options]
    for lines in (5, 14):
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda enough=lines: len(rows_so_far(out / "torch" / "steps.jsonl")) >= enough)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        line = [*line[:2], "--resume", str(out)]
    with (out / "torch" / "steps.jsonl").open("a") as stream:
        stream.write('{"step": 9999, "epo')  # what a kill in the middle of a write leaves
    (out / "torch" / "checkpoint.safetensors.new.part").mkdir(exist_ok=True)
    (out / "torch" / "checkpoint.safetensors.new.part" / ".tmp7LbTT9").write_bytes(b"half")
    assert not (out / "complete.json").exists()

    assert resume(out) == 0
    assert run(root, tmp_path / "whole", *TORCH, *options, epochs=12) == 0
    assert_same(out, tmp_path / "whole")
    assert read_run(out).complete and len(meta(out)["resumed"]) == 2
    assert not list((out / "torch").glob("*.new*"))


def assert_same(one: Path, other: Path) -> None:
    """Check that two runs of PyTorch's twin have the same records, checkpoints and predictions."""
    assert steps(one) == steps(other)
    evaluations = [rows(each / "torch" / "evaluation.jsonl") for each in (one, other)]
    assert [[row["stats"] for row in each] for each in evaluations[:1]] == [
        [row["stats"] for row in evaluations[1]]
    ]
    for name in ("checkpoint.safetensors", "best.safetensors"):
        states = [load_arrays(each / "torch" / name) for each in (one, other)]
        assert states[0].keys() == states[1].keys()
        assert all(np.array_equal(array, states[1][key]) for key, array in states[0].items())
    for name in ("predictions_train.json", "predictions_val.json"):
        assert (one / "torch" / name).read_bytes() == (other / "torch" / name).read_bytes()


def rows_so_far(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_ctrl_c_keeps_the_finished_epochs_and_says_how_to_go_on(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "a folder"
    process = subprocess.Popen(
        [*command(root, out, epochs=1000), "--checkpoint-minutes", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    until(lambda: rows_so_far(out / "torch" / "epochs.jsonl"))
    os.kill(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    last = errors.rstrip().split("\n")[-1]
    assert last == f"interrupted; go on with: python experiments/run.py --resume '{out}'"
    assert "Traceback" not in errors
    assert f"partial report: {out / 'report.md'}" in output
    assert "This run is incomplete" in (out / "report.md").read_text()
    assert len(rows(out / "torch" / "epochs.jsonl")) >= 1


def test_an_interruption_before_the_first_step_leaves_a_run_to_go_on_with(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    counting(monkeypatch, torch=CountingStepper(interrupt))
    assert run(root, tmp_path / "run", *TORCH) == 130
    assert "--resume" in capsys.readouterr().err
    counting(monkeypatch, torch=CountingStepper())
    assert resume(tmp_path / "run") == 0


def interrupt(number: int) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_preparation_leaves_nothing_in_the_way(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_meta", lambda self: interrupt(0))
        assert run(root, tmp_path / "run", *TORCH) == 130
    assert not (tmp_path / "run").exists()


@pytest.fixture
def interrupted(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, request: pytest.FixtureRequest
) -> Path:
    """A run of two stand-ins whose first was interrupted at step 3, in the second epoch; parameters are options."""
    own = tmp_path / "data"
    shutil.copytree(root, own)
    monkeypatch.setattr(training_loop, "SHORT_EPOCH_S", 0.0)  # the first epoch leaves its checkpoint
    torch = CountingStepper(lambda number: interrupt(0) if number == 3 else None)
    steppers = {"torch": torch, "jittor": CountingStepper()}  # the certificate asks both
    counting(monkeypatch, **steppers)
    assert run(own, tmp_path / "run", *getattr(request, "param", ())) == 130
    counting(monkeypatch, torch=CountingStepper(), jittor=CountingStepper())
    capsys.readouterr()
    return tmp_path / "run"


def test_what_was_interrupted_goes_on_and_what_was_not_begun_begins(interrupted: Path) -> None:
    assert resume(interrupted) == 0
    assert steps(interrupted, "torch") == steps(interrupted, "jittor")
    assert read_run(interrupted).complete


def test_more_epochs_are_those_of_a_longer_run(root: Path, tmp_path: Path, capsys: Capture) -> None:
    out, whole = tmp_path / "extended", tmp_path / "whole"
    constant = ("-u", "recipe.schedule=multistep")  # quick's schedule depends on the number of epochs
    assert run(root, out, *TORCH, *constant, epochs=2) == 0
    capsys.readouterr()
    assert main(["--resume", str(out), "--epochs", "4"]) == 0
    assert "the same as in a run of 4 epochs from the start" in capsys.readouterr().err
    assert run(root, whole, *TORCH, *constant, epochs=4) == 0
    said, expected = meta(out), meta(whole)
    for key in ("spec", "spec_hash", "epochs", "deviations"):
        assert said[key] == expected[key]
    assert said["resumed"][0]["epochs"] == 4 and read_run(out).complete
    assert {row["epoch"] for row in rows(out / "torch" / "evaluation.jsonl")} == {1, 3}
    assert steps(out) == steps(whole)
    assert (out / "torch" / "predictions_val.json").read_bytes() == (
        whole / "torch" / "predictions_val.json"
    ).read_bytes()

    assert main(["--resume", str(out), "--epochs", "4"]) == 2
    said_error(capsys, "--epochs 4", "4 epochs already")


def test_frameworks_of_an_unfinished_run_keep_equal_rates(interrupted: Path, capsys: Capture) -> None:
    before = meta(interrupted)
    assert main(["--resume", str(interrupted), "--epochs", "3"]) == 2
    said_error(capsys, "depend on the number of epochs", "torch 2, jittor 0, control1 0", "first finish")
    assert meta(interrupted) == before
    assert resume(interrupted) == 0
    assert main(["--resume", str(interrupted), "--epochs", "3"]) == 0
    assert steps(interrupted, "torch") == steps(interrupted, "jittor")


@pytest.mark.parametrize("interrupted", [("-u", "recipe.schedule=multistep")], indirect=True)
def test_an_unfinished_run_is_extended_too(interrupted: Path) -> None:
    assert main(["--resume", str(interrupted), "--epochs", "3"]) == 0
    assert [each["step"] for each in steps(interrupted, "torch")] == list(range(6))
    assert steps(interrupted, "torch") == steps(interrupted, "jittor")


def test_rates_that_depend_on_the_number_of_epochs_are_named() -> None:
    tiny = preset("tiny")
    before = replace(tiny, recipe=replace(tiny.recipe, epochs=2, milestones=(1,)))
    same = replace(before, recipe=replace(before.recipe, epochs=4))
    other = replace(before, recipe=replace(before.recipe, epochs=4, milestones=(0,)))
    assert "the same as in a run of 4" in consequence(before, same, done=2, steps_per_epoch=3)
    assert "other rates from epoch 1 on" in consequence(before, other, done=2, steps_per_epoch=3)


def test_the_images_may_have_moved(interrupted: Path, capsys: Capture) -> None:
    old = Path(meta(interrupted)["data"]["root"])
    new = old.rename(old.parent / "elsewhere")
    assert resume(interrupted) == 2
    said_error(capsys, old, "is not there", "--data DIR")
    image = next((new / "val2017").iterdir())
    content = image.read_bytes()
    image.write_bytes(content + b" ")
    assert main(["--resume", str(interrupted), "--data", str(new)]) == 2
    said_error(capsys, image, "changed since the")
    assert meta(interrupted)["data"]["root"] == str(old) and not meta(interrupted)["resumed"]
    image.write_bytes(content)
    assert main(["--resume", str(interrupted), "--data", str(new)]) == 0
    said = meta(interrupted)
    assert said["data"]["root"] == str(new) and str(new) in said["data"]["sentence"]
    assert said["resumed"][0]["data"] == str(new)


def test_other_arguments_are_refused(interrupted: Path, capsys: Capture) -> None:
    assert run(Path("elsewhere"), interrupted, "--resume", str(interrupted)) == 2
    said_error(capsys, "--resume", "--preset", "--subset", "--image-size")


def test_a_changed_spec_is_refused(interrupted: Path, capsys: Capture) -> None:
    said = meta(interrupted)
    said["spec"]["recipe"]["clip_max_norm"] = 0.2
    (interrupted / "run.json").write_text(json.dumps(said))
    assert resume(interrupted) == 2
    said_error(capsys, "the spec has changed", said["spec_hash"])
    said["spec"]["recipe"]["clip_norm"] = said["spec"]["recipe"].pop("clip_max_norm")
    (interrupted / "run.json").write_text(json.dumps(said))
    assert resume(interrupted) == 2
    said_error(capsys, "clip_norm", "start a new run")


def test_changed_images_annotations_and_weights_are_refused(interrupted: Path, capsys: Capture) -> None:
    data = Path(meta(interrupted)["data"]["root"])
    image, annotations = next((data / "val2017").iterdir()), annotation_path(data, "train")
    changes = {
        image: image.read_bytes() + b" ",
        annotations: annotations.read_bytes().replace(b'"bbox": [', b'"bbox": [1'),
        interrupted / "initial.safetensors": b"",
    }
    for path, content in changes.items():
        before = path.read_bytes()
        path.write_bytes(content)
        assert resume(interrupted) == 2
        said_error(capsys, path, "changed since the" if path != annotations else "have changed")
        path.write_bytes(before)
    assert resume(interrupted) == 0


def test_two_processes_do_not_work_on_one_run(interrupted: Path, capsys: Capture) -> None:
    with (interrupted / ".lock").open("w") as stream, contextlib.closing(stream):
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert resume(interrupted) == 2
    said_error(capsys, "another process is at work")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: Capture) -> None:
    assert resume(tmp_path / "absent") == 2
    said_error(capsys, "absent", "no such folder")
    assert resume(tmp_path) == 2
    said_error(capsys, tmp_path, "no run.json")
    (tmp_path / "run.json").write_text('{"schema": 1}')
    assert resume(tmp_path) == 2
    said_error(capsys, "not written by this version")
    (tmp_path / "run.json").write_text('{"schema": 1')
    assert resume(tmp_path) == 2
    said_error(capsys, "not JSON")
