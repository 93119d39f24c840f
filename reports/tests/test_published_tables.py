"""Tables that comparisons of ports publish: numbers that can be worked out by hand, and verdicts on claims."""

import json
from pathlib import Path
from typing import Any

import pytest

from reports.build import build_report
from reports.run.claims import Claim, judge, parameters, read_claims
from reports.run.convergence import convergence, convergence_table
from reports.run.loss_table import ROWS, loss_table
from reports.run.records import read_run
from reports.run.throughput import evaluation_rate, steady_steps, throughput_table
from reports.tests.run_folder import STEPS_PER_EPOCH, total, write_run
from reports.tests.test_verdict import certify

pytestmark = pytest.mark.usefixtures("blank_figures")
HOLDS, FAILS = "holds", "**does not hold**"


def cells(table: str | None) -> list[list[str]]:
    """The cells of a Markdown table by row, the heading first."""
    assert table is not None
    lines = [line for line in table.splitlines() if not set(line) <= set("|:-")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def edit(path: Path, change: Any) -> None:
    """Change every row of a file of JSON lines in place."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        change(row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def verdicts(folder: Path) -> dict[str, tuple[str, str]]:
    """What was measured, and the verdict, by what each claim is about."""
    return {each.claim.about: (each.measured, each.verdict) for each in judge(read_run(folder))}


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """A run with a certificate, a control and APs that mean something."""
    folder = write_run(tmp_path / "run", ap=0.1, controls=1)
    certify(folder)
    return folder


def test_the_loss_table_has_a_few_epochs_their_differences_and_the_controls(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", epochs=11, controls=1))
    heading, *rows = cells(loss_table(run))
    assert heading == ["epoch", "PyTorch", "Jittor", "Jittor − PyTorch", "control 1 − PyTorch"]
    assert [row[0] for row in rows] == ["1", "3", "5", "7", "9", "11"] and len(rows) == ROWS
    means = {
        name: sum(total(name, 130 + step) for step in range(STEPS_PER_EPOCH)) / STEPS_PER_EPOCH
        for name in ("torch", "jittor", "control1")
    }
    assert rows[-1][1:3] == [f"{means[name]:.6g}" for name in ("torch", "jittor")]
    for cell, name in zip(rows[-1][3:], ("jittor", "control1"), strict=True):
        assert cell.startswith(f"{means[name] - means['torch']:+.4f} (")


def test_convergence_is_first_step_to_last_epoch_by_minutes_of_training(judged: Path) -> None:
    edit(judged / "torch" / "epochs.jsonl", lambda row: row.update(loss=row["epoch"] + 1.0, seconds=60.0))
    edit(judged / "torch" / "steps.jsonl", lambda row: row.update(total=25.0))
    run = read_run(judged)
    found = convergence(run.frameworks[0])
    assert found and (found.initial, found.final, found.drop) == (25.0, 5.0, 20.0)
    assert (found.minutes, found.drop_per_minute) == (5.0, 4.0)
    (row,) = [row for row in cells(convergence_table(run)) if row[0] == "PyTorch"]
    assert row == ["PyTorch", "5", "25", "5", "20.0000", "80 %", "5.00", "4"]


def test_throughput_leaves_the_first_epoch_out(judged: Path) -> None:
    edit(
        judged / "torch" / "steps.jsonl",
        lambda row: row.update(seconds=100.0 if row["epoch"] == 0 else 2.0 if row["step"] % 13 else 9.0),
    )
    edit(judged / "torch" / "evaluation.jsonl", lambda row: row.update(seconds=30.0, compile_seconds=5.0))
    run = read_run(judged)
    assert set(steady_steps(run.frameworks[0])) == {2.0, 9.0}
    assert evaluation_rate(run.frameworks[0]) == 2.0
    (row,) = [row for row in cells(throughput_table(run)) if row[0] == "PyTorch"]
    assert row == ["PyTorch", "2 s", "2 s", "9 s", "2", "2"]


def test_claims_about_numbers_are_judged_by_the_certificate(judged: Path) -> None:
    found = verdicts(judged)
    assert found["forward"] == ("2.0e-13 in float64; in float32 2.0e-06, PyTorch itself 1.0e-06", HOLDS)
    assert found["losses"][1] == HOLDS
    assert found["backward"][1] == "holds in float64, does not hold in float32: PyTorch's own rounding is larger"
    certify(judged, wrong="loss/loss_vfl")
    assert verdicts(judged)["losses"][1] == FAILS and verdicts(judged)["forward"][1] == HOLDS
    (judged / "certificate.jsonl").unlink()
    assert verdicts(judged)["forward"] == ("not recorded: the run has no certificate", "not comparable")


def test_every_claim_is_judged_once_and_the_table_is_on_the_page(judged: Path) -> None:
    assert list(verdicts(judged)) == [claim.about for claim in read_claims()]
    text = build_report(judged).read_text()
    assert text.index("## What other ports claim") < text.index("## What this run does not show")
    alone = write_run(judged.parent / "alone", frameworks=("torch",))
    assert judge(read_run(alone)) == [] and "other ports claim" not in build_report(alone).read_text()


def test_parameters_are_counted_in_both_ways() -> None:
    verdict = parameters(Claim("parameters", "", 42.94e6))
    assert "42,891,372" in verdict.measured and "42,944,620" in verdict.measured and "53,248" in verdict.verdict
    assert parameters(Claim("parameters", "", 42.89e6)).verdict == HOLDS
    assert parameters(Claim("parameters", "", 42.90e6)).verdict == FAILS


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((-0.002, 0.002), HOLDS),
        ((0.04, 0.06), FAILS),
        ((-0.06, -0.04), FAILS),
        ((-0.1, 0.1), "not comparable: too few images to tell"),
    ],
)
def test_an_ap_is_judged_by_its_interval(judged: Path, interval: tuple[float, float], said: str) -> None:
    row = {"reference": "torch", "other": "jittor", "difference": 0.0, "resamples": 10}
    ends = dict(zip(("low", "high"), interval, strict=True))
    rows = [row | ends | {"split": split} for split in ("train", "val")]
    (judged / "bootstrap.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    assert verdicts(judged)["ap"][1] == f"{said} on val; {said} on train"


def test_an_ap_without_an_interval_or_close_to_zero_says_so(judged: Path) -> None:
    assert verdicts(judged)["ap"][1].startswith("holds, but no interval was recorded, on val")
    edit(judged / "jittor" / "evaluation.jsonl", lambda row: row["stats"].update(AP=0.0001))
    assert verdicts(judged)["ap"] == ("AP too close to 0 on val; AP too close to 0 on train", "not comparable")


@pytest.mark.parametrize(
    ("port", "control", "said"),
    [
        (1.05, 1.0, HOLDS),
        (1.4, 1.0, f"{FAILS} here: more than that"),
        (0.9, 1.0, f"{FAILS} here: less than that"),
        (1.05, 1.2, "not comparable: the control, the same program, differs by +20.0 %"),
    ],
)
def test_a_time_is_judged_beside_the_controls(judged: Path, port: float, control: float, said: str) -> None:
    for name, seconds in (("torch", 1.0), ("jittor", port), ("control1", control)):
        edit(judged / name / "steps.jsonl", lambda row, seconds=seconds: row.update(seconds=seconds))
    measured, verdict = verdicts(judged)["training step"]
    assert measured.startswith(f"{100 * (port - 1):+.1f} %") and verdict == said
