"""docs/speed.md: what is published and what is refused, the numbers of its tables, and that it is up to date."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.benchmarks import starts
from experiments.benchmarks.cells import read_records, read_rows
from experiments.benchmarks.control import control_ratio, too_noisy
from experiments.benchmarks.publish import KEPT_FIGURE, KEPT_RECORDS, PAGE, RECORDS, main, speed_page, write_report
from experiments.benchmarks.session import CONTROL, FORMULAS
from experiments.benchmarks.statistics import Estimate
from experiments.benchmarks.tables import latency_rows, limit_rows, memory_rows, ratio_rows, update_rows
from experiments.benchmarks.targets import target_rows, verdict
from experiments.runs.host import ROOT
from frameworks.errors import UserError

QUIET = [1.0, 1.01, 0.99, 1.0, 1.02, 0.98]
PLACE = {"preset": "rtdetr_r18vd", "image_size": 160, "batch_size": 4}
ENVIRONMENT = {
    "kind": "environment",
    "host": {"cpu": "Abacus", "cores": 2, "platform": "Linux", "python": "3.12", "memory_gib": 8.0}
    | {"git_commit": "0123456789abcdef", "git_dirty": False},
    "versions": {"torch": "2"},
    "variables": {"OMP_NUM_THREADS": "2"},
    "load_before": [0.1, 0.1, 0.1],
    "trained_parameters": {"rtdetr_r18vd": 20_000_000},
    "denoising_queries": [196],
    "rounds": 6,
    "warm_up": 2,
    "device": "cpu",
    "started": "2026-11-25T00:00:00Z",
}
PARTS = {"decoder": 0.25, "optimizer and average": 0.15, "backward and clipping": 0.6}


def timings(label: str, seconds: list[float], task: str = "step", **place: Any) -> list[dict[str, Any]]:
    base = {"kind": "timing", "label": label, "task": task, **(PLACE | place)}
    return [base | {"round": turn, "position": 0, "seconds": value} for turn, value in enumerate(seconds)]


def times(seconds: list[float], factor: float) -> list[float]:
    return [factor * value for value in seconds]


def session(control: list[float] = QUIET) -> list[dict[str, Any]]:
    """Records of one row: a quiet reference of 1 s, Jittor as the reference path, Hugging Face at 1.4 times."""
    first = {"kind": "first_call", "task": "step", "seconds": 3.0, **PLACE}
    records = [ENVIRONMENT, {"kind": "limits", "gflops": 100.0, "copy_gb_per_s": 12.0}]
    for label, factor in (("torch", 1.0), (FORMULAS, 1.2), ("jittor", 1.5), ("hf", 1.4)):
        records += timings(label, times(QUIET, factor))
        records.append(first | {"label": label, "losses": {"loss_vfl": factor, "loss_vfl_dn_0": 1.0}})
        records.append({"kind": "memory", "label": label, "peak_mb": 1234.0, **PLACE})
    operators = {"aten::mm": {"seconds": 0.5, "calls": 20}}
    for label in ("torch", "jittor"):
        profile = {"kind": "profile", "label": label, **PLACE, "parts": PARTS, "operators": operators}
        records.append(profile | {"operations": {"step": 25_000_000_000}})
    return records + timings(CONTROL, control)


def write(folder: Path, records: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORDS).write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder like the repository's, with nothing published yet."""
    for path in (KEPT_RECORDS, PAGE):
        (tmp_path / path).parent.mkdir(parents=True)
    return tmp_path


def test_the_committed_page_is_what_its_records_give() -> None:
    if (ROOT / KEPT_RECORDS).exists() or (ROOT / PAGE).exists():
        committed = (ROOT / PAGE).read_text(encoding="utf-8")
        assert committed == speed_page(), f"run python -m experiments.benchmarks.publish and commit {PAGE}"
        assert (ROOT / KEPT_FIGURE).is_file()
        assert too_noisy(read_rows(read_records(ROOT / KEPT_RECORDS))) is None


def test_a_quiet_session_is_published(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(root / "benchmark", [*session(), {"kind": "worker", "executable": "/home/someone/python"}])
    assert main([str(folder)], root) == 0
    text = (root / PAGE).read_text()
    assert text == speed_page(root) and "Quiet enough." in text and "Abacus, 2 cores, 8.0 GiB" in text
    assert f"](../{KEPT_FIGURE})" in text and (root / KEPT_FIGURE).read_bytes().startswith(b"\x89PNG")
    assert read_records(root / KEPT_RECORDS) == session(), "what tells of one computer only is left out"
    assert capsys.readouterr().out.startswith("published: ")


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        (session(times(QUIET, 1.04)), "does not contain 1"),
        (session([0.8, 1.2, 0.8, 1.2, 0.9, 1.1]), "wider than ±5 %"),
        (
            [
                *session(),
                *timings("torch", QUIET[:2], preset="rtdetr_r50vd"),
                *timings(CONTROL, [1.0, 1.2], preset="rtdetr_r50vd"),
            ],
            "in the step of rtdetr_r50vd at 160 px",
        ),
        (session([]), "there is no A/A control"),
        (
            [*session(), {"kind": "failure", "label": "hf", "during": "step", "message": "killed", **PLACE}],
            "Hugging Face failed during step",
        ),
    ],
)
def test_a_noisy_or_broken_session_is_not(
    records: list[dict[str, Any]], reason: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(write(root / "benchmark", records))], root) == 1
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1
    assert not any((root / path).exists() for path in (PAGE, KEPT_RECORDS, KEPT_FIGURE))


def test_the_control_is_pooled_over_rows() -> None:
    rows = read_rows(session() + timings("torch", QUIET, "inference") + timings(CONTROL, QUIET, "inference"))
    assert [row.task for row in rows] == ["step", "inference"]
    assert control_ratio(rows) == Estimate(1.0, 1.0, 1.0)


def test_ratios_targets_and_the_parts_of_what_falls_short() -> None:
    rows = read_rows(session())
    (row,) = ratio_rows(rows)
    assert row["Jittor twin"] == "1.50 (1.50–1.50)" and row["PyTorch twin, again (A/A)"] == "1.00 (1.00–1.00)"
    hugging_face, jittor = target_rows(rows, session())
    assert hugging_face["target"] == "PyTorch twin ≤ 0.77 × Hugging Face"
    assert (hugging_face["measured (95 %)"], hugging_face["result"]) == ("0.71 (0.71–0.71)", "met")
    assert (jittor["measured (95 %)"], jittor["result"]) == ("1.25 (1.25–1.25)", "**missed**")
    assert jittor["most of its step"] == "backward and clipping 60 %, decoder 25 %"
    assert not hugging_face["most of its step"]
    assert verdict(Estimate(0.99, 0.97, 1.01), 1.0) == "open"


def test_an_indistinguishable_ratio_is_marked() -> None:
    records = session([1.05, 1.0, 0.96, 1.0, 1.02, 0.98])
    records += timings("jittor", times(QUIET, 1.01), image_size=320) + timings("torch", QUIET, image_size=320)
    records += timings(CONTROL, [1.05, 1.0, 0.96, 1.0, 1.02, 0.98], image_size=320)
    assert ratio_rows(read_rows(records))[1]["Jittor twin"] == "≈ 1.01 (1.01–1.01)"


def test_distances_to_the_limits_of_the_machine() -> None:
    """25 GFLOP at 100 GFLOP/s take 250 ms; 36 bytes of 20 million parameters at 12 GB/s take 60 ms."""
    rows = read_rows(session())
    (products,), (update,) = limit_rows(rows, session(), 100.0), update_rows(rows, session(), 12.0)
    assert (products["at the limit, ms"], products["PyTorch twin"], products["Jittor twin"]) == (
        "250",
        "× 4.0",
        "× 6.0",
    )
    assert (update["MB"], update["least, ms"], update["PyTorch twin, ms"]) == ("720", "60", "150")


def test_records_of_one_preset_are_still_read(tmp_path: Path) -> None:
    """As they were written before: preset and batch size in the record of the environment only."""
    environment = {key: value for key, value in ENVIRONMENT.items() if key != "trained_parameters"}
    environment |= {"preset": "tiny", "batch_size": 2, "denoising_queries": 14}
    records = [environment]
    for label in ("torch", "jittor", CONTROL):
        for timing in timings(label, QUIET):
            records.append({key: value for key, value in timing.items() if key not in ("preset", "batch_size")})
    text = write_report(write(tmp_path, records)).read_text()
    assert "| `tiny`   | 160²    | 2 " in text and "(14 per image)" in text


def test_a_session_without_timings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no timings"):
        write_report(write(tmp_path, [ENVIRONMENT]))


def test_starts_are_measured_and_printed(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert starts.main(["nox -s parity", "cold", "--", "true"], root) == 0
    (start,) = starts.read_starts(root)
    assert start["cache"] == "cold" and start["command"] == "true" and 0 <= start["minutes"] < 1
    assert starts.main(["nox -s parity", "cold", "--", "false"], root) == 1
    assert starts.main(["nox -s parity", "cool", "--", "true"], root) == 2
    assert len(starts.read_starts(root)) == 1
    write(root / "benchmark", session())
    assert main([str(root / "benchmark")], root) == 0
    row = next(line for line in (root / PAGE).read_text().splitlines() if line.startswith("| `nox -s parity`"))
    assert "≤ 10" in row and "`true`" in row
    assert "not recorded" in capfd.readouterr().err


def test_latencies_are_of_the_largest_image_with_each_batch() -> None:
    records = session()
    for batch, factor in ((1, 1.0), (2, 3.0)):
        place = {"image_size": 640, "batch_size": batch}
        records += timings("torch", times([1.0, 2.0, 3.0, 4.0, 5.0], factor), task="inference", **place)
        records.append({"kind": "memory", "label": "torch", "peak_mb": 100.0 * batch, **(PLACE | place)})
    rows = read_rows(records)
    one, two = latency_rows(rows, records)
    assert (one["image"], one["batch"], one["task"], one["calls"]) == ("640²", "1", "inference", "5")
    assert (one["p50, ms"], one["p90, ms"], one["images/s"], one["peak MB"]) == ("3000", "4600", "0.33", "100")
    assert (two["batch"], two["p50, ms"], two["images/s"], two["peak MB"]) == ("2", "9000", "0.22", "200")
    assert [row["PyTorch twin"] for row in memory_rows(rows, records)] == ["1,234", "100", "200"]
