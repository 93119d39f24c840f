"""The certificate and the control of a run: they pass for one function, and fail for a planted difference.

Both sides are PyTorch's twin in this process; the one that goes by the name of Jittor's is changed.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

import frameworks
from experiments.runs import stepper
from experiments.runs.certificate import off_the_kinks
from experiments.runs.control import moved_weights
from experiments.tests.data_sets import shapes
from experiments.tests.runs import TORCH, counting, meta, resume, rows, run, steps
from experiments.tests.steppers import CountingStepper
from frameworks.arrays import Arrays, load_arrays
from frameworks.protocol import Case
from frameworks.workers.client import WorkerFailure
from reports.run.certificate import read_certificate

pytestmark = [
    pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad:UserWarning"),
    pytest.mark.usefixtures("one_thread"),
]
Change = Callable[[Case, Arrays], tuple[Case, Arrays]]


@dataclass(frozen=True)
class Changed:
    """PyTorch's twin, which is given another case or other weights than it is asked for."""

    change: Change

    def trace(self, case: Case, weights: Arrays, inputs: Arrays, **where: Any) -> Arrays:
        return frameworks.load("torch").trace(*self.change(case, weights), inputs, **where)

    def __getattr__(self, name: str) -> Any:
        return getattr(frameworks.load("torch"), name)


def another_loss_weight(case: Case, weights: Arrays) -> tuple[Case, Arrays]:
    criterion = replace(case.spec.criterion, weight_giou=2.001)
    return replace(case, spec=replace(case.spec, criterion=criterion)), weights


def another_weight(case: Case, weights: Arrays) -> tuple[Case, Arrays]:
    name = "decoder.enc_score_head.bias"
    return case, weights | {name: weights[name] + np.float32(1e-4)}


def another_decay(case: Case, weights: Arrays) -> tuple[Case, Arrays]:
    groups = tuple(replace(group, weight_decay=group.weight_decay + 1e-3) for group in case.spec.recipe.groups)
    return replace(case, spec=replace(case.spec, recipe=replace(case.spec.recipe, groups=groups))), weights


def unchanged(case: Case, weights: Arrays) -> tuple[Case, Arrays]:
    return case, weights


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes(tmp_path_factory.mktemp("data"), train=6, val=4)


@pytest.fixture(autouse=True)
def blank_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are built but not drawn, which takes most of the time of a report."""
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: Path(path).touch())


def planted(monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    @contextlib.contextmanager
    def open_changed(name: str, **settings: Any) -> Iterator[Any]:
        yield Changed(change if name == "jittor" else unchanged)

    monkeypatch.setattr(stepper, "open_framework", open_changed)


@pytest.mark.parametrize(
    ("change", "stage"),
    [(another_loss_weight, "losses"), (another_weight, "query selection"), (another_decay, "update")],
)
def test_a_planted_difference_stops_the_run_with_one_line(
    change: Change,
    stage: str,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    planted(monkeypatch, change)
    assert run(root, out, subset=4, epochs=1) == 1
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if line.startswith("certificate: ")]
    assert line.startswith("certificate: **Jittor does not compute the same function as PyTorch**"), line
    assert f"({stage}, " in line, line
    assert f"to train all the same: --resume {out}" in said and not (out / "torch" / "steps.jsonl").exists()
    assert "**Jittor does not compute the same function" in (out / "report.md").read_text()


def test_who_resumes_after_a_failed_certificate_trains(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting(monkeypatch, torch=CountingStepper(), jittor=CountingStepper(error=1e-6))
    out = tmp_path / "run"
    assert run(root, out) == 1 and not (out / "torch" / "steps.jsonl").exists()
    counting(monkeypatch, torch=CountingStepper(), jittor=CountingStepper())
    assert resume(out) == 0
    text = (out / "report.md").read_text()
    assert "**Jittor does not compute the same function" in text, "what was found stays"
    assert steps(out, "torch") == steps(out, "jittor") and len(steps(out, "control1")) == 4


def test_the_same_program_passes_and_its_control_is_trained(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    planted(monkeypatch, unchanged)
    assert run(root, out, subset=4, epochs=2) == 0
    assert "certificate: Jittor computes the same function as PyTorch" in capsys.readouterr().out
    certificate = read_certificate(out / "certificate.jsonl")
    assert certificate and certificate.float64 and not certificate.failed
    stages = {record.stage for record in certificate.float64.comparisons}
    assert {"forward", "query selection", "matching", "losses", "backward", "update", "moments", "EMA"} <= stages
    assert {line["framework"] for line in certificate.float32} == {"torch", "jittor"}
    assert steps(out, "torch") == steps(out, "jittor")
    totals = [[row["total"] for row in steps(out, name)] for name in ("torch", "control1")]
    assert totals[0] != totals[1] and totals[0] == pytest.approx(totals[1], rel=1e-3)
    assert meta(out)["controls"] == 1 and "control1" not in meta(out)["environment"]
    drawn = [(row["split"], row["other"]) for row in rows(out / "bootstrap.jsonl")]
    assert drawn == [(split, other) for split in ("train", "val") for other in ("jittor", "control1")]
    assert [row["difference"] for row in rows(out / "bootstrap.jsonl") if row["other"] == "jittor"] == [0, 0]
    classes = rows(out / "classes.jsonl")
    assert {row["differences"]["jittor"]["difference"] for row in classes} == {0.0}
    truth = json.loads((out / "ground_truth_val.json").read_text())["annotations"]
    objects = sum(not each["iscrowd"] for each in truth)
    assert sum(row["objects"] for row in classes if row["split"] == "val") == objects > 0
    drawn = [(row["split"], row["name"]) for row in rows(out / "curves.jsonl")]
    assert drawn == [(split, name) for split in ("train", "val") for name in ("torch", "jittor", "control1")]


def test_one_framework_has_no_certificate_and_no_control(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert run(root, out, *TORCH, epochs=1, subset=2) == 0
    (line,) = rows(out / "certificate.jsonl")
    assert line["certificate"]["outcome"] == "left out" and "one framework" in line["certificate"]["reason"]
    assert "controls" not in meta(out) and not (out / "control1").exists()


def test_a_framework_that_cannot_answer_leaves_the_certificate_out(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dumb(CountingStepper):
        def trace(self, case: Case, dtype: str) -> Arrays:
            raise WorkerFailure("crash", "jittor worker was killed by signal 9", "")

    counting(monkeypatch, torch=CountingStepper(), jittor=Dumb())
    out = tmp_path / "run"
    assert run(root, out, "--controls", "0", epochs=1) == 0
    assert rows(out / "certificate.jsonl")[-1]["certificate"]["reason"].endswith("killed by signal 9")
    assert "The certificate was left out: jittor worker was killed" in (out / "report.md").read_text()


def test_a_certificate_that_was_cut_off_is_made_again_and_a_whole_one_is_kept(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Asked(CountingStepper):
        def trace(self, case: Case, dtype: str) -> Arrays:
            asked.append(case.question)
            return super().trace(case, dtype)

    out = tmp_path / "run"
    steppers: Mapping[str, CountingStepper] = {"torch": Asked(), "jittor": Asked()}
    counting(monkeypatch, **steppers)
    assert run(root, out, "--controls", "0", epochs=1) == 0
    path = out / "certificate.jsonl"
    whole, number = path.read_text(), len(asked)
    (out / "complete.json").write_text(json.dumps({"frameworks": ["torch"]}))
    assert resume(out) == 0 and len(asked) == number and path.read_text() == whole
    (out / "complete.json").write_text(json.dumps({"frameworks": ["torch"]}))
    path.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    assert resume(out) == 0 and len(asked) == 2 * number
    assert [row for row in rows(path) if "certificate" not in row] == [
        json.loads(line) for line in whole.splitlines()[:-1]
    ]


def test_boxes_leave_the_border_and_stay_within_themselves() -> None:
    boxes = np.array([[0.5, 0.5, 1, 1], [0.025, 0.5, 0.05, 0.2], [0.995, 0.3, 0.01, 0.6]], np.float32)
    moved = off_the_kinks(boxes, 0)
    assert moved.dtype == np.float32
    corners, before = (
        [each[:, :2] + side * each[:, 2:].astype(float) / 2 for side in (-1, 1)] for each in (moved, boxes)
    )
    assert (corners[0] > before[0]).all() and (corners[1] < before[1]).all()
    np.testing.assert_allclose(moved[:, 2:], boxes[:, 2:], rtol=1.1e-4)
    np.testing.assert_array_equal(moved, off_the_kinks(boxes, 0))


def test_the_control_starts_one_unit_in_the_last_place_away() -> None:
    draw = np.random.default_rng(0)
    weights = {"a": draw.standard_normal(1000).astype(np.float32), "running_mean": np.ones(3, np.float32)}
    moved = moved_weights(weights, ["a"], 0, "control1")
    distances = moved["a"].view(np.int32) - weights["a"].view(np.int32)
    assert set(distances.tolist()) == {-1, 1} and abs(distances.mean()) < 0.2
    assert moved["running_mean"] is weights["running_mean"]
    np.testing.assert_array_equal(moved["a"], moved_weights(weights, ["a"], 0, "control1")["a"])
    for seed, name in ((1, "control1"), (0, "control2")):
        assert (moved["a"] != moved_weights(weights, ["a"], seed, name)["a"]).any()


def test_a_control_that_is_cut_off_goes_on_bit_for_bit(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control is one more training of the run: interrupted in it and resumed, it ends as without."""
    asked = ("--controls", "1", "--checkpoint-minutes", "0")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(root, whole, *TORCH, *asked, subset=4, epochs=2) == 0

    real = stepper.open_stepper
    opened: list[str] = []

    @contextlib.contextmanager
    def cut_off(name: str, *arguments: Any) -> Iterator[Any]:
        with real(name, *arguments) as training:
            opened.append(name)
            if len(opened) == 2:  # the control
                step, done = training.step, []

                def interrupted(*given: Any, **named: Any) -> Any:
                    if len(done) == 3:
                        raise KeyboardInterrupt
                    done.append(0)
                    return step(*given, **named)

                training.step = interrupted
            yield training

    monkeypatch.setattr("experiments.runs.job.open_stepper", cut_off)
    assert run(root, cut, *TORCH, *asked, subset=4, epochs=2) == 130
    monkeypatch.undo()
    assert len(steps(cut, "control1")) == 3
    assert resume(cut) == 0
    assert steps(cut, "control1") == steps(whole, "control1") != steps(whole, "torch")
    states = [load_arrays(each / "control1" / "checkpoint.safetensors") for each in (whole, cut)]
    assert all(np.array_equal(array, states[1][name]) for name, array in states[0].items())
