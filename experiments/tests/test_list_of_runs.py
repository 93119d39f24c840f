"""experiments/runs.py: what it says of every kind of folder, and that it never ends in a traceback."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.runs.list_command import main
from experiments.runs.overview import disk_usage
from experiments.tests.runs import said_error
from reports.tests.run_folder import SPEED, STEPS_PER_EPOCH, rewrite, write_run

ROOT = Path(__file__).resolve().parents[2]


def listed(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, dict[str, Any]]:
    """What ``list --json`` says, by the name of the folder, in its order."""
    assert main(["list", str(folder), "--json", *options]) == 0
    return {run["name"]: run for run in json.loads(capsys.readouterr().out)}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A complete run, an interrupted one, one with a failure, and one whose epochs are cut short."""
    write_run(tmp_path / "whole", ap=0.1)
    write_run(tmp_path / "half", epochs=2)
    (tmp_path / "half/complete.json").unlink()
    write_run(tmp_path / "failed")
    (tmp_path / "failed/jittor/failure.json").write_text('{"kind": "crash", "message": "killed by signal 9"}')
    return tmp_path


def test_every_state_has_its_name(runs: Path, capsys):
    write_run(runs / "busy")
    with (runs / "busy/.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        states = {name: run["state"] for name, run in listed(runs, capsys).items()}
    assert states == {"whole": "complete", "half": "interrupted", "failed": "failed", "busy": "running"}


def test_a_run_shows_the_numbers_of_its_records(runs: Path, capsys):
    run = listed(runs, capsys)["whole"]
    assert run["preset"] == "rtdetr_r18vd" and run["frameworks"] == ["torch", "jittor"]
    assert run["train_images"] == 50 and run["created"] == "2026-01-02T03:04:05Z"
    torch, jittor = run["entries"]
    assert torch["epochs"] == 5 and torch["ap"]["val"]["AP"] == pytest.approx(0.1 * 5 / 2)
    assert jittor["ap"]["train"]["AP"] == pytest.approx(0.1 * 5 * 1.02)
    rows = [json.loads(line) for line in (runs / "whole/torch/epochs.jsonl").read_text().splitlines()]
    assert torch["seconds"] == pytest.approx(sum(row["seconds"] for row in rows) + 10 * 12)
    assert torch["seconds"] > 5 * STEPS_PER_EPOCH * SPEED["torch"]
    assert run["minutes"] == pytest.approx((torch["seconds"] + jittor["seconds"]) / 60)


def test_the_table_has_a_row_for_each_folder(runs: Path, capsys):
    (runs / "photographs").mkdir()
    assert main(["list", str(runs)]) == 0
    text = capsys.readouterr().out
    assert "0.2500 / 0.2550" in text and "interrupted, 4/4 epochs" in text
    assert next(line for line in text.splitlines() if "photographs" in line).count("no run") == 1


def test_the_list_can_be_sorted(runs: Path, capsys):
    rewrite(runs / "half/run.json", lambda meta: meta.update(created="2025-01-01T00:00:00Z"))
    assert next(iter(listed(runs, capsys))) == "half"
    assert list(listed(runs, capsys, "--sort", "ap"))[-1] == "whole"
    assert list(listed(runs, capsys, "--sort", "name", "--reverse")) == ["whole", "half", "failed"]


def test_two_names_of_one_file_take_its_room_once(tmp_path: Path):
    (tmp_path / "last").write_bytes(os.urandom(1 << 16))
    alone = disk_usage(tmp_path)
    os.link(tmp_path / "last", tmp_path / "best")
    (tmp_path / "elsewhere").symlink_to(sys.executable)
    assert alone >= 1 << 16 and disk_usage(tmp_path) - alone < 1 << 12


BROKEN = {
    "empty": "",
    "cut off": '{"schema": 1, "prese',
    "a list": "[1, 2]",
    "another schema": '{"schema": 7}',
    "deep": "[" * 100_000,
    "controls": {"controls": 10**12},
    "controls as text": {"controls": "many"},
    "no names": {"frameworks": [None, 3]},
    "names outside": {"frameworks": ["../../../etc"]},
    "data is text": {"data": "photographs"},
    "epochs are text": {"epochs": "\x1b[2Jfive"},
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_run_is_listed_as_such(content: str | dict[str, Any], tmp_path: Path, capsys):
    write_run(tmp_path / "broken", epochs=1)
    if isinstance(content, dict):
        rewrite(tmp_path / "broken/run.json", lambda meta: meta.update(content))
    else:
        (tmp_path / "broken/run.json").write_text(content)
    run = listed(tmp_path, capsys)["broken"]
    assert run["state"] == "broken" and run["problem"]
    assert main(["list", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "broken: broken: " in text and "\x1b" not in text
    assert main(["show", str(tmp_path / "broken")]) == 2
    said_error(capsys, "broken")


@pytest.mark.parametrize("file", ["epochs.jsonl", "evaluation.jsonl", "failure.json"])
@pytest.mark.parametrize("content", ["\x00\x00", '{"epoch": 1}\n', "[]\n", '{"epoch": {}, "split": []}\n'])
def test_broken_records_are_no_traceback(file: str, content: str, tmp_path: Path, capsys):
    write_run(tmp_path / "run", epochs=1)
    (tmp_path / "run/torch" / file).write_text(content)
    assert listed(tmp_path, capsys)["run"]["state"] in ("broken", "complete")


def test_a_run_is_shown_with_the_way_to_go_on(runs: Path, capsys):
    assert main(["show", str(runs / "half")]) == 0
    text = capsys.readouterr().out
    assert f"go on with: python experiments/run.py --resume {runs / 'half'}" in text
    assert "2 of 2" in text and "50 images drawn by seed from a folder." in text
    assert main(["show", str(runs / "failed")]) == 0
    assert "crash: killed by signal 9" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["list", "show"])
def test_a_folder_that_is_not_there_is_one_line(command: str, tmp_path: Path, capsys):
    assert main([command, str(tmp_path / "gone")]) == 2
    said_error(capsys, "gone")


@pytest.mark.parametrize("start", [["experiments/runs.py"], ["-m", "experiments.runs"]], ids=["file", "package"])
def test_the_file_beside_the_package_of_its_name_starts(start: list[str], runs: Path):
    found = subprocess.run(
        [sys.executable, *start, "list", str(runs)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr) == (0, "") and "whole" in found.stdout
