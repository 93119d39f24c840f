"""The main command from beginning to end, with PyTorch's twin and with stand-ins."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.data.coco import load_split
from experiments.data.manifest import read_manifest
from experiments.run import main
from experiments.runs.host import ROOT
from experiments.tests.data_sets import shapes
from experiments.tests.runs import TORCH, counting, meta, resume, rows, run, steps
from experiments.tests.steppers import CountingStepper
from frameworks.arrays import load_arrays
from frameworks.config import ExperimentSpec, from_dict, spec_hash
from frameworks.shared import kernels
from frameworks.state.initialisation import initial_weights
from frameworks.workers.client import WorkerFailure
from reports.run.records import read_run

pytestmark = [
    pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad:UserWarning"),
    pytest.mark.usefixtures("one_thread"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes(tmp_path_factory.mktemp("data"), train=6, val=4)


@pytest.fixture(scope="module")
def finished(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "new" / "run"
    assert run(root, out, *TORCH) == 0
    return out


def test_the_chosen_kernels_are_used_and_recorded(root: Path, tmp_path: Path) -> None:
    assert run(root, tmp_path / "run", *TORCH, "--kernels", "reference", epochs=1) == 0
    environment = meta(tmp_path / "run")["environment"]
    assert environment["kernels"] == environment["torch"]["kernels"] == "reference"
    assert environment["torch"]["deformable_attention"] == "formula" and kernels.choice() == "fast"


def test_the_folder_describes_the_run(finished: Path, root: Path) -> None:
    said = meta(finished)
    spec = from_dict(ExperimentSpec, said["spec"])
    assert spec_hash(spec) == said["spec_hash"]
    assert (said["epochs"], said["batch_size"], said["image_size"]) == (2, 2, 64)
    assert said["data"]["sentence"].startswith("coloured shapes") and said["data"]["root"] == str(root)
    assert (said["data"]["train_images"], said["data"]["val_images"]) == (5, 4), "as many val images as there are"
    assert said["environment"].keys() == {"host", "kernels", "torch"}
    assert said["environment"]["kernels"] == said["environment"]["torch"]["kernels"] == "fast"
    assert {"cpu", "cores", "memory_gib", "git_commit", "git_dirty"} <= said["environment"]["host"].keys()
    for split in ("train", "val"):
        manifest = read_manifest(finished / f"manifest_{split}.json")
        manifest.verify(load_split(root, "train" if split == "train" else "val"))
    weights = load_arrays(finished / "initial.safetensors")
    assert all(np.array_equal(array, weights[name]) for name, array in initial_weights(spec.model, 0).items())


def test_the_report_reads_it_and_finds_it_complete(finished: Path) -> None:
    records = read_run(finished)
    assert records.complete and not records.notes
    (torch,) = records.frameworks
    assert [each.step for each in torch.steps] == [0, 1, 2, 3] and len(torch.epochs) == 2
    assert [(each.split, each.epoch, each.images) for each in torch.evaluations] == [("train", 1, 5), ("val", 1, 4)]
    assert {split: len(found) for split, found in torch.predictions.items()} == {"train": 5 * 20, "val": 4 * 20}
    assert {sample.split for sample in records.samples} == {"train", "val"}
    assert all(sample.ground_truth for sample in records.samples)
    assert "torch" in (finished / "report.md").read_text().lower()
    assert (finished / "report_detections.png").exists()


def test_a_complete_run_says_so_and_stays_as_it_is(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in (finished / "torch").iterdir()}
    assert resume(finished) == 0
    assert "already complete" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (finished / "torch").iterdir()} == before


def test_a_finished_run_is_not_overwritten(finished: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (finished / "run.json").read_bytes()
    assert run(root, finished, *TORCH) == 2
    assert "is not empty" in capsys.readouterr().err
    assert (finished / "run.json").read_bytes() == before


def test_two_runs_of_one_command_are_the_same(finished: Path, root: Path, tmp_path: Path) -> None:
    assert run(root, tmp_path / "again", *TORCH) == 0
    assert steps(tmp_path / "again") == steps(finished)
    for name in ("torch/predictions_val.json", "manifest_train.json", "samples.json"):
        assert (tmp_path / "again" / name).read_bytes() == (finished / name).read_bytes()


def test_both_frameworks_are_given_the_same(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counting(monkeypatch, torch=CountingStepper(), jittor=CountingStepper())
    assert run(root, tmp_path / "run") == 0
    assert steps(tmp_path / "run", "torch") == steps(tmp_path / "run", "jittor")
    out = capsys.readouterr().out
    assert f"report: {tmp_path / 'run' / 'report.md'}" in out
    assert "PyTorch and Jittor each trained `tiny`" in out, "the verdict"


def test_overfitting_evaluates_the_training_images_on_the_way(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting(monkeypatch, torch=CountingStepper())
    out = tmp_path / "run"
    size = ("--preset", "tiny", "--image-size", "64", "--batch-size", "2")
    asked = ("--overfit", "4", "--epochs", "3", "--validate-every", "1", "--frameworks", "torch")
    assert main([*asked, *size, "--data", str(root), "--out", str(out)]) == 0
    evaluated = [(row["epoch"], row["split"]) for row in rows(out / "torch" / "evaluation.jsonl")]
    assert evaluated == [(0, "train"), (1, "train"), (2, "train"), (2, "val")]
    assert "![AP50 and AP over the epochs](report_precision.png)" in (out / "report.md").read_text()


def raise_(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (WorkerFailure("crash", "torch worker was killed by signal 9", "the last words"), "crash"),
        (FloatingPointError("total loss is nan"), "diverged"),
    ],
)
def test_a_framework_that_fails_leaves_the_other_alone(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str
) -> None:
    out = tmp_path / "run"
    broken = CountingStepper(fault=lambda number: raise_(error) if number == 3 else None)
    counting(monkeypatch, torch=broken, jittor=CountingStepper())
    assert run(root, out) == 1
    failure = json.loads((out / "torch" / "failure.json").read_text())
    assert (failure["kind"], failure["message"]) == (kind, str(error))
    assert len(steps(out, "torch")) == 3 and len(steps(out, "jittor")) == 4
    assert rows(out / "jittor" / "evaluation.jsonl") and not (out / "jittor" / "failure.json").exists()
    assert "This run is incomplete" in (out / "report.md").read_text()

    counting(monkeypatch, torch=CountingStepper())
    assert resume(out) == 0, "only the one that failed is tried again"
    assert not (out / "torch" / "failure.json").exists()
    assert steps(out, "torch") == steps(out, "jittor")


def test_a_worker_that_dies_is_recorded_with_its_last_words(root: Path, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'no such compiler' >&2\nexit 7\n")
    broken.chmod(0o755)
    out = tmp_path / "run"
    assert run(root, out, "--frameworks", "jittor,torch", "--python", f"jittor={broken}", epochs=1) == 1
    failure = json.loads((out / "jittor" / "failure.json").read_text())
    assert failure["kind"] == "crash" and "status 7" in failure["message"]
    assert "no such compiler" in failure["stderr_tail"]
    assert "no such compiler" in (out / "jittor" / "stderr.log").read_text()
    assert len(steps(out, "torch")) == 2, "torch ran in a worker of its own"
    assert meta(out)["environment"]["torch"]["executable"] == sys.executable


def test_a_framework_that_has_not_this_device_is_recorded(root: Path, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here, and this test is about its absence")
    assert run(root, tmp_path / "run", *TORCH, "--device", "cuda", "--batch-size", "2") == 1
    failure = json.loads((tmp_path / "run" / "torch" / "failure.json").read_text())
    assert failure["kind"] == "unavailable" and "CUDA" in failure["message"]


def test_the_file_can_be_started_by_its_path_from_anywhere(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "experiments" / "run.py"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "--resume DIR" in done.stdout and not done.stderr


def test_no_file_beside_the_command_hides_a_module_that_it_imports() -> None:
    here = {path.stem for path in (ROOT / "experiments").iterdir() if not path.name.startswith(".")}
    assert not here & (sys.stdlib_module_names - {"__init__"})
