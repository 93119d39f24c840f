"""Statistics on known numbers, the order of turns, and a tiny benchmark from end to end."""

import contextlib
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest

from experiments import benchmark
from experiments.benchmarks import session, timing
from experiments.benchmarks.environment import thread_variables
from experiments.benchmarks.limits import copy_gb_per_second, product_gflops
from experiments.benchmarks.publish import RECORDS, write_report
from experiments.benchmarks.session import CONTROL, FORMULAS
from experiments.benchmarks.statistics import Estimate, distinguishable, estimate, noise_floor, ratio_of_medians
from experiments.benchmarks.timing import FEWEST_ROUNDS, order_of
from frameworks.arrays import Arrays
from frameworks.hf_rtdetr import names as hf_names
from frameworks.protocol import Detections, StepRecord
from frameworks.workers.client import WorkerFailure

LABELS = ["torch", FORMULAS, CONTROL]


def test_median_and_interval_of_known_numbers() -> None:
    assert estimate([3.0, 1.0, 2.0]).median == 2.0
    assert estimate([1.0, 2.0, 3.0, 10.0]).median == 2.5
    assert estimate([5.0]) == Estimate(5.0, 5.0, 5.0)
    with pytest.raises(ValueError, match="no values"):
        estimate([])


def test_interval_is_reproducible_and_contains_the_median() -> None:
    values = np.random.Generator(np.random.PCG64(1)).normal(10, 1, 30).tolist()
    first = estimate(values)
    assert first == estimate(values)
    assert min(values) < first.low < first.median < first.high < max(values)


def test_interval_covers_the_true_median_about_as_often_as_it_says() -> None:
    stream = np.random.Generator(np.random.PCG64(2))
    intervals = [estimate(stream.normal(10, 1, 25).tolist()) for _ in range(60)]
    covered = sum(interval.low <= 10 <= interval.high for interval in intervals)
    assert covered >= 50  # 95 % of 60 is 57; 50 or fewer would happen once in thousands


def test_ratio_of_medians_pairs_what_slows_a_round_down() -> None:
    reference = [1.0, 5.0, 1.5, 2.0]
    assert ratio_of_medians([2 * seconds for seconds in reference], reference) == Estimate(2.0, 2.0, 2.0)
    unpaired = ratio_of_medians([3.0, 2.0, 4.0, 10.0], reference)
    assert unpaired.median == 3.5 / 1.75 and unpaired.low < 2.0 < unpaired.high
    with pytest.raises(ValueError, match="zip"):
        ratio_of_medians([1.0, 2.0], [1.0])


def test_control_decides_what_counts_as_a_difference() -> None:
    floor = noise_floor(Estimate(1.01, 0.94, 1.03))
    assert floor == pytest.approx(0.06)
    assert distinguishable(Estimate(1.2, 1.1, 1.3), floor)
    assert distinguishable(Estimate(0.8, 0.7, 0.9), floor)
    assert not distinguishable(Estimate(1.2, 1.05, 1.3), floor)


def test_turns_rotate_and_everybody_is_first_as_often() -> None:
    labels = ["a", "b", "c", "d"]
    orders = [order_of(labels, turn) for turn in range(8)]
    assert all(sorted(order) == labels for order in orders)
    assert sorted(order[0] for order in orders) == sorted(2 * labels)
    followers = {after for order in orders for before, after in itertools.pairwise(order) if before == "a"}
    assert len(followers) > 1


def test_every_timed_process_gets_the_same_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    variables = thread_variables()
    assert variables["OMP_NUM_THREADS"] == variables["MKL_NUM_THREADS"] == "3"
    assert variables["OMP_WAIT_POLICY"] == "PASSIVE"


def test_limits_of_the_machine_are_rates() -> None:
    assert product_gflops(64) > 0.01
    assert copy_gb_per_second(8) > 0.01


@pytest.fixture
def quick_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of the machine that take no time to measure."""
    monkeypatch.setattr(timing, "measure_limits", lambda: {"gflops": 100.0, "copy_gb_per_s": 10.0})


@pytest.mark.usefixtures("quick_limits")
def test_tiny_benchmark_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--preset",
        "tiny",
        "--image-size",
        "64",
        "--rounds",
        "2",
        "--warm-up",
        "1",
        "--frameworks",
        "torch",
    ]
    assert benchmark.main([*arguments, "--out", str(tmp_path)]) == 0
    records = [json.loads(line) for line in (tmp_path / RECORDS).read_text().splitlines()]
    timed = [(r["label"], r["task"], r["round"]) for r in records if r["kind"] == "timing"]
    assert sorted(timed) == sorted(
        (label, task, turn) for label in LABELS for task in ("step", "inference") for turn in (0, 1)
    )
    assert all(r["seconds"] > 0 for r in records if r["kind"] == "timing")
    assert [r["label"] for r in records if r["kind"] == "memory"] == LABELS
    environment = next(r for r in records if r["kind"] == "environment")
    assert environment["variables"]["OMP_WAIT_POLICY"] == "PASSIVE"
    assert environment["denoising_queries"] == [14]
    (profile,) = [r for r in records if r["kind"] == "profile"]
    assert profile["operations"]["step"] > 2 * profile["operations"]["inference"] > 0
    text = (tmp_path / "benchmark.md").read_text()
    assert "PyTorch twin, again (A/A)" in text and "PyTorch twin, reference path" in text
    assert "Only 2 rounds" in text
    assert (tmp_path / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    assert "report:" in capsys.readouterr().out
    before = text
    write_report(tmp_path)  # from the records alone, and the same again
    assert (tmp_path / "benchmark.md").read_text() == before
    assert benchmark.main([*arguments, "--out", str(tmp_path)]) == 2
    assert "holds a benchmark already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--frameworks", "jitor,torch"], "unknown framework 'jitor'.*Did you mean 'jittor'"),
        (["--frameworks", "jittor"], "expected torch"),
        (["--frameworks", "torch,torch"], "each name once"),
        (["--rounds", "0"], "--rounds is 0"),
        (["--image-size", "160", "320", "640", "--batch-size", "4", "2"], "2 values for 3 of --image-size"),
        (["--image-size", "64"], "84 tokens, but rtdetr_r18vd selects 300"),
        (["--image-size", "100"], "multiples of 32"),
        (["--preset", "rtdetr_r18"], "Did you mean 'rtdetr_r18vd'"),
        (["--frameworks", "torch", "--python", "hf=x"], "expected NAME=PATH"),
        (["--rounds", "many"], "invalid int value"),
    ],
)
def test_wrong_options_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new"
    assert benchmark.main([*arguments, "--out", str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert not folder.exists()


def test_missing_transformers_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hf_names.importlib.util, "find_spec", lambda name: None)
    assert benchmark.main(["--out", str(tmp_path / "new")]) == 2
    assert "pip install 'twin-detr[huggingface]'" in capsys.readouterr().err


class FakeFramework:
    """Answers at once; ``offset`` makes it another model, ``failing_step`` ends it in that step."""

    def __init__(self, offset: float = 0.0, failing_step: int = -1) -> None:
        self.offset, self.failing_step, self.steps = offset, failing_step, 0

    def environment(self, device: str) -> dict[str, str]:
        return {"framework": "fake", "device": device}

    def trace(self, *arguments: object, **options: object) -> Arrays:
        answer = np.ones((1, 2, 4)) + self.offset
        return {"forward/pred_logits": answer, "forward/pred_boxes": answer}

    def trainer(self, *arguments: object, **options: object) -> "FakeFramework":
        return self

    def step(self, batch: Arrays, learning_rates: list[float], ema_decay: float) -> StepRecord:
        self.steps += 1
        if self.steps == self.failing_step:
            raise WorkerFailure("crash", "fake worker was killed by signal 9", "last words")
        return StepRecord({"loss_vfl": 1.0}, 1.0, 1.0, 0.5, "")

    def predict(self, images: Arrays) -> Detections:
        return Detections({}, 0.25)

    def peak_memory_mb(self) -> float:
        return 100.0


def run_fakes(
    fakes: dict[str, FakeFramework], folder: Path, monkeypatch: pytest.MonkeyPatch, rounds: str = "4"
) -> int:
    monkeypatch.setattr(
        session, "open_framework", lambda name, **_: contextlib.nullcontext(fakes.get(name, FakeFramework()))
    )
    names = ["--frameworks", "torch,jittor", "--preset", "tiny", "--image-size", "64", "96", "--minutes", "0"]
    return benchmark.main([*names, "--warm-up", "3", "--rounds", rounds, "--out", str(folder)])


def read(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / RECORDS).read_text().splitlines()]


@pytest.mark.usefixtures("quick_limits")
def test_rounds_end_with_the_time_but_never_before_the_fifth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_fakes({}, tmp_path, monkeypatch, rounds="9") == 0
    rounds = {r["round"] for r in read(tmp_path) if r["kind"] == "timing"}
    assert rounds == set(range(FEWEST_ROUNDS))


def interrupt(*arguments: object) -> None:
    """What Ctrl-C does."""
    raise KeyboardInterrupt


@pytest.mark.usefixtures("quick_limits")
def test_a_size_whose_control_was_noisy_is_timed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_fakes({}, tmp_path, monkeypatch) == 0
    lines = read(tmp_path)
    slow = [r for r in lines if r["kind"] == "timing" and r["label"] == CONTROL and r["image_size"] == 64]
    for turn, record in enumerate(slow):
        record["seconds"] *= 1 + turn % 3  # a load on the machine
    (tmp_path / RECORDS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_report(tmp_path)
    assert "Too noisy to be published" in (tmp_path / "benchmark.md").read_text()
    plan = ["--frameworks", "torch,jittor", "--preset", "tiny", "--image-size", "64", "96", "--rounds", "4"]
    before = (tmp_path / RECORDS).read_bytes()
    with monkeypatch.context() as interrupted:
        interrupted.setattr(timing, "_time_round", interrupt)
        assert benchmark.main([*plan, "--again", str(tmp_path)]) == 130
    assert (tmp_path / RECORDS).read_bytes() == before, "half a size replaces nothing"
    assert benchmark.main([*plan, "--again", str(tmp_path)]) == 0
    (again,) = [r for r in read(tmp_path) if r["kind"] == "again"]
    assert again["image_size"] == 64, "96 px was quiet"
    assert len(read(tmp_path)) > len(lines), "what was measured first is kept"
    text = (tmp_path / "benchmark.md").read_text()
    assert (
        "Quiet enough" in text
        and "Timed once more, because the control was too noisy there at first: tiny, 64" in text
    )
    assert benchmark.main([*plan, "--again", str(tmp_path)]) == 2
    assert "nothing to time again" in capsys.readouterr().err


@pytest.mark.usefixtures("quick_limits")
def test_a_worker_that_dies_is_recorded_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 3 warm-up steps, then the second of 4 timed rounds; at the next size it starts again.
    assert run_fakes({"jittor": FakeFramework(failing_step=5)}, tmp_path, monkeypatch) == 1
    records = read(tmp_path)
    (failure,) = [r for r in records if r["kind"] == "failure"]
    assert (failure["label"], failure["during"], failure["image_size"]) == ("jittor", "step", 64)
    assert failure["stderr_tail"] == "last words"
    steps = [r["label"] for r in records if r["kind"] == "timing" and r["task"] == "step"]
    assert (steps.count("torch"), steps.count("jittor"), steps.count(FORMULAS)) == (8, 1 + 4, 8)
    text = (tmp_path / "benchmark.md").read_text()
    assert "**Jittor twin failed during step** (tiny, 64 px, batch 4): fake worker was killed" in text


@pytest.mark.usefixtures("quick_limits")
def test_another_model_is_never_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for offset in (1e-6, float("nan")):
        folder = tmp_path / str(offset)
        assert run_fakes({"jittor": FakeFramework(offset)}, folder, monkeypatch) == 2
        assert "jittor's pred_logits of tiny differ from torch's" in capsys.readouterr().err
        assert '"timing"' not in (folder / RECORDS).read_text()
