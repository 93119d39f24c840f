"""Reading a run folder: what is tolerated, what is an error, and that the error is one useful line."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from frameworks.errors import UserError
from reports.run.records import read_run
from reports.tests.run_folder import rewrite, total


def read_error(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_run(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_complete_run_reads_back(run_dir: Path) -> None:
    run = read_run(run_dir)
    assert run.complete and not run.notes
    assert [framework.name for framework in run.frameworks] == ["torch", "jittor"]
    assert run.frameworks[1].steps[40].total == total("jittor", 40)
    evaluation = run.frameworks[0].last_evaluation("val")
    assert evaluation is not None and evaluation.epoch == 4
    assert run.categories == {1: "person", 2: "dog", 3: "bicycle"}


def test_a_half_written_last_line_is_tolerated_and_noted(run_dir: Path) -> None:
    path = run_dir / "torch" / "steps.jsonl"
    path.write_text(path.read_text()[:-25])
    run = read_run(run_dir)
    assert len(run.frameworks[0].steps) == 64
    assert re.search(r"torch/steps.jsonl: line 65 was cut off", " ".join(run.notes))


def test_a_broken_line_in_the_middle_names_file_and_line(run_dir: Path) -> None:
    path = run_dir / "torch" / "steps.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:9], lines[9][:30] + "\n", *lines[10:]]))
    assert re.search(r"torch/steps\.jsonl: line 10 is not JSON", read_error(run_dir))


def test_a_broken_last_line_that_was_finished_is_an_error(run_dir: Path) -> None:
    path = run_dir / "torch" / "epochs.jsonl"
    path.write_text(path.read_text() + "{oops\n")
    assert "epochs.jsonl: line 6 is not JSON" in read_error(run_dir)


@pytest.mark.parametrize(
    "text, expected",
    [
        ('{"step": 65}\n', "record 66 lacks 'epoch'"),
        ("[1, 2]\n", "line 66 is list"),
        ('{"step": 65, "epoch": 5, "losses": 3, "total": 1}\n', "record 66 is not what a run writes"),
    ],
)
def test_a_record_of_another_form_is_an_error(run_dir: Path, text: str, expected: str) -> None:
    with (run_dir / "jittor" / "steps.jsonl").open("a") as file:
        file.write(text)
    assert expected in read_error(run_dir)


def test_an_unknown_split_is_an_error(run_dir: Path) -> None:
    path = run_dir / "torch" / "evaluation.jsonl"
    path.write_text(path.read_text().replace('"split": "val"', '"split": "test"', 1))
    assert "expected one of train, val" in read_error(run_dir)


def test_a_resumed_run_counts_each_step_once(run_dir: Path) -> None:
    path = run_dir / "torch" / "steps.jsonl"
    again = json.loads(path.read_text().splitlines()[-1]) | {"total": 1.25}
    with path.open("a") as file:
        file.write(json.dumps(again) + "\n")
    run = read_run(run_dir)
    assert len(run.frameworks[0].steps) == 65 and run.frameworks[0].steps[-1].total == 1.25
    assert "written again by a resumed run" in " ".join(run.notes)


def test_missing_steps_are_noted(run_dir: Path) -> None:
    path = run_dir / "torch" / "steps.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3] + lines[5:]))
    assert "holds 63 steps of 0..64" in " ".join(read_run(run_dir).notes)


def test_null_is_kept_as_nan(run_dir: Path) -> None:
    path = run_dir / "torch" / "steps.jsonl"
    path.write_text(re.sub(r'"total": [\d.e-]+', '"total": null', path.read_text(), count=1))
    first = read_run(run_dir).frameworks[0].steps[0]
    assert first.total != first.total


def test_what_is_no_run_folder(tmp_path: Path, run_dir: Path) -> None:
    assert "there is no such run folder" in read_error(tmp_path / "nowhere")
    assert "is no run folder" in read_error(tmp_path)
    (tmp_path / "run.json").write_text("{")
    assert "run.json: line 1 is not JSON" in read_error(tmp_path)
    rewrite(run_dir / "run.json", lambda meta: meta.pop("seed"))
    assert "run.json: lacks seed" in read_error(run_dir)
    rewrite(run_dir / "run.json", lambda meta: meta.update(schema=2))
    assert "schema is 2" in read_error(run_dir)


def test_a_run_that_recorded_nothing_is_an_error(run_dir: Path) -> None:
    for name in ("torch", "jittor"):
        (run_dir / name / "steps.jsonl").unlink()
    assert "no framework has recorded a step yet" in read_error(run_dir)


def test_reports_import_no_framework(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "from reports.tests import parity_lines, run_folder\n"
        "import reports.build, reports.evidence, reports.parity_page, reports.zoo\n"
        "reports.build.build_report(run_folder.write_run(folder / 'run'))\n"
        "records = parity_lines.write(folder / 'records', parity_lines.session())\n"
        "assert reports.parity_page.main([str(records), sys.argv[1]]) == 0\n"
        "reports.zoo.zoo_page(), reports.evidence.evidence_page()\n"
        "found = [name for name in sys.modules if name.split('.')[0] in ('torch', 'jittor', 'transformers')]\n"
        "found += [name for name in sys.modules if '_rtdetr' in name]\n"
        "assert not found, found\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
