"""--entrant official=PATH, against a stand-in with the layout of the official code, which cannot be had here."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import benchmark
from experiments.benchmarks import timing
from experiments.benchmarks.publish import RECORDS
from experiments.tests.official_stand_in import write_checkout
from frameworks.config import preset
from frameworks.errors import UserError
from frameworks.official_rtdetr.adapter import configuration
from frameworks.official_rtdetr.source import VARIABLE
from frameworks.shared.tolerances import SAME_PREDICTIONS_OFFICIAL

TINY = ["--preset", "tiny", "--image-size", "64", "--frameworks", "torch", "--rounds", "1", "--warm-up", "1"]


def run(checkout: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(timing, "measure_limits", lambda: {"gflops": 100.0, "copy_gb_per_s": 10.0})
    return benchmark.main([*TINY, "--entrant", f"official={checkout}", "--out", str(folder)])


def test_the_official_code_is_compared_and_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(write_checkout(tmp_path / "rtdetr_pytorch"), tmp_path / "out", monkeypatch) == 0
    records = [json.loads(line) for line in (tmp_path / "out" / RECORDS).read_text().splitlines()]
    official = [record for record in records if "official" in (record.get("label"), record.get("framework"))]
    agreement = [record for record in official if record["kind"] == "agreement"]
    assert [record["limit"] for record in agreement] == [SAME_PREDICTIONS_OFFICIAL] * 2
    assert [record["task"] for record in official if record["kind"] == "timing"] == ["step", "inference"]
    steps = [r for r in records if r["kind"] == "first_call" and r["task"] == "step"]
    losses = {record["label"]: record["losses"] for record in steps}
    shared = losses["official"].keys() & losses["torch"].keys()
    assert len(shared) > 5
    assert all(losses["official"][name] == pytest.approx(losses["torch"][name], rel=1e-5) for name in shared)
    assert "PyTorch twin ≤ 0.77 × official code" in (tmp_path / "out/benchmark.md").read_text()


def test_another_official_model_is_not_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout = write_checkout(tmp_path / "rtdetr_pytorch", scale=1.00001)
    assert run(checkout, tmp_path / "out", monkeypatch) == 2
    assert "official's pred_boxes of tiny differ from torch's" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("entrant", "preset", "message"),
    [
        ("unofficial={0}", "tiny", "expected official=PATH"),
        ("official=", "tiny", "expected official=PATH"),
        ("official={0}/src", "tiny", "has no src/core/__init__.py"),
        ("official={0}", "rtdetr_r18vd", "has 0 files rtdetr_r18vd_"),
    ],
)
def test_a_wrong_entrant_is_one_line(
    entrant: str, preset: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout = write_checkout(tmp_path / "rtdetr_pytorch")
    arguments = ["--frameworks", "torch", "--preset", preset, "--entrant", entrant.format(checkout)]
    assert benchmark.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and re.search(message, error)


def test_other_losses_than_those_of_its_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(write_checkout(tmp_path / "rtdetr_pytorch")))
    spec = preset("tiny")
    with pytest.raises(UserError, match="trains with the losses of its own file for tiny"):
        configuration(replace(spec, criterion=replace(spec.criterion, weight_vfl=2.0)))
