"""Training and validation loss side by side in the report of a run that was validated on the way."""

import json
import re
from pathlib import Path

import pytest

from reports.build import build_report
from reports.run.records import read_run
from reports.run.validation import MOST_ROWS, spread, validated_split
from reports.tests.run_folder import (
    KINDS,
    STEPS_PER_EPOCH,
    add_validation_losses,
    loss,
    validation_losses,
    write_run,
)


def cells(text: str, title: str) -> dict[str, dict[str, str]]:
    """The table whose first column is `title`: first cell -> column -> cell."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if re.match(rf"\| *{title} *\|", line))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[2:]}


def trained(name: str, epoch: int) -> float:
    """The mean of the final predictions' terms over the steps of an epoch."""
    steps = range(epoch * STEPS_PER_EPOCH, (epoch + 1) * STEPS_PER_EPOCH)
    return sum(loss(name, step, kind, "") for step in steps for kind in KINDS) / STEPS_PER_EPOCH


@pytest.mark.usefixtures("blank_figures")
def test_both_losses_stand_side_by_side_at_the_validated_epochs(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", controls=1)
    add_validation_losses(run_dir, every=2)
    found = cells(build_report(run_dir).read_text(), "epoch")
    assert list(found) == ["2", "4"]
    for number, row in found.items():
        epoch = int(number) - 1
        for name, label in (("torch", "PyTorch"), ("jittor", "Jittor")):
            assert float(row[f"{label}, training"]) == pytest.approx(trained(name, epoch), abs=6e-5)
            wanted = sum(validation_losses(name, epoch).values())
            assert float(row[f"{label}, validation"]) == pytest.approx(wanted, abs=6e-5)
        for label, name in (("Jittor", "jittor"), ("control 1", "control1")):
            assert row[f"{label} against PyTorch, validation"] == f"{100 * (1.01 ** (epoch + 1) - 1):.2g} %"
            wanted = abs(trained(name, epoch) / trained("torch", epoch) - 1)
            text = row[f"{label} against PyTorch, training"]
            assert float(text.removesuffix(" %")) == pytest.approx(100 * wanted, rel=0.06)


@pytest.mark.usefixtures("blank_figures")
def test_the_first_screen_has_the_validation_loss_too(run_dir: Path) -> None:
    add_validation_losses(run_dir)
    rows = build_report(run_dir).read_text().split("\n\n")[2].splitlines()[2:]
    (row,) = [row for row in rows if row.startswith("| [validation loss (final predictions), last epoch]")]
    assert [cell.strip() for cell in row.split("|")[2:-1]] == ["4.92803", "5.17941", "5.1 %"]
    assert len(rows) <= 8


@pytest.mark.usefixtures("blank_figures")
def test_a_changed_record_changes_its_cell_alone(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run")
    add_validation_losses(run_dir)
    before = cells(build_report(run_dir).read_text(), "epoch")
    path = run_dir / "jittor" / "evaluation.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    changed = next(row for row in rows if (row["epoch"], row["split"]) == (2, "val"))
    changed["losses"]["loss_giou"] += 1.0
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    after = cells(build_report(run_dir).read_text(), "epoch")
    differing = {(row, name) for row in after for name in after[row] if after[row][name] != before[row][name]}
    assert differing == {("3", "Jittor, validation"), ("3", "Jittor against PyTorch, validation")}


def test_the_figure_has_a_panel_more_and_the_caption_says_where_both_end(pristine: Path, run_dir: Path) -> None:
    add_validation_losses(run_dir)
    text = build_report(run_dir).read_text()
    wanted = sum(validation_losses("torch", 4).values())
    assert f"PyTorch {trained('torch', 4):.3f} in training and {wanted:.3f} on the validation images" in text
    assert (run_dir / "report_loss.png").read_bytes() != (pristine / "report_loss.png").read_bytes()


@pytest.mark.usefixtures("blank_figures")
def test_a_run_without_validation_says_nothing_of_it(run_dir: Path) -> None:
    text = build_report(run_dir).read_text()
    assert validated_split(read_run(run_dir)) is None
    assert "PyTorch, validation" not in text and "validated epoch" not in text


@pytest.mark.usefixtures("blank_figures")
def test_a_framework_that_stopped_leaves_gaps(run_dir: Path) -> None:
    add_validation_losses(run_dir)
    path = run_dir / "jittor" / "evaluation.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:4]))
    row = cells(build_report(run_dir).read_text(), "epoch")["5"]
    assert row["PyTorch, validation"] != "–" and row["Jittor, validation"] == "–"
    assert row["Jittor against PyTorch, validation"] == "–"


@pytest.mark.usefixtures("blank_figures")
def test_an_overfitted_run_is_evaluated_on_its_training_images(run_dir: Path) -> None:
    for name in ("torch", "jittor"):
        path = run_dir / name / "evaluation.jsonl"
        lines = path.read_text().splitlines(True)  # the validation images once, after the last epoch
        path.write_text("".join(line for line in lines if '"train"' in line or '"epoch": 4' in line))
    add_validation_losses(run_dir)
    text = build_report(run_dir).read_text()
    wanted = sum(validation_losses("torch", 4).values()) / 2
    assert float(cells(text, "epoch")["5"]["PyTorch, evaluation"]) == pytest.approx(wanted, abs=6e-5)
    assert "of the averaged model after the epoch, on the training images" in text


def test_many_epochs_are_thinned_out() -> None:
    assert spread([1, 3, 5]) == [1, 3, 5]
    shown = spread(range(0, 300, 3))
    assert (len(shown), shown[0], shown[-1]) == (MOST_ROWS, 0, 297)
