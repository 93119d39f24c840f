"""The report of a run: its numbers against ones computed here anew, and the runs that went wrong."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from frameworks.errors import UserError
from reports.build import build_report, main
from reports.tests.run_folder import STEPS_PER_EPOCH, losses, rewrite, total, write_run

ROOT = Path(__file__).resolve().parents[2]


def rows(text: str, first: str) -> list[list[str]]:
    """The cells of every table row whose first cell is `first`."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [row for row in cells if row[0] == first]


def paragraph(text: str) -> str:
    """The verdict: the first paragraph under the title."""
    return text.split("\n\n")[1]


def section(text: str, title: str) -> str:
    """What stands below a heading of the second level."""
    (found,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found


def headline(text: str) -> dict[str, list[str]]:
    """The table of the first screen: title of a row -> its cells."""
    lines = re.sub(r"\[([^]]+)\]\(#[^)]+\)", r"\1", text.split("\n\n")[2]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells}


def jsonl(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_headline_holds_the_recorded_numbers(pristine: Path) -> None:
    table = headline((pristine / "report.md").read_text())
    assert len(table) - 2 <= 8, "a title and a line, then rows that a busy reader can quote"
    assert table[""] == ["PyTorch", "Jittor", "Jittor against PyTorch"]
    assert table["epochs"][:2] == ["5 of 5", "5 of 5"]
    means = [sum(total(name, step) for step in range(52, 65)) / STEPS_PER_EPOCH for name in ("torch", "jittor")]
    loss = table["training loss (total), last epoch"]
    assert [float(cell) for cell in loss[:2]] == pytest.approx(means, rel=1e-5)
    assert loss[2] == f"{100 * abs(means[1] - means[0]) / means[0]:.2g} %"
    assert table["AP, training images"] == ["0.0020", "0.0020", "+0.0000"]
    assert table["AP, validation images"] == ["0.0010", "0.0010", "+0.0000"]
    assert table["time per epoch"][2] == table["peak memory"][2] == "× 1.30"


def test_the_first_screen_is_short_and_says_nothing_of_the_machine(run_dir: Path) -> None:
    def plant(meta: dict[str, object]) -> None:
        meta["data"] |= {"sentence": "shapes: /home/me failed with <urlopen error 110>", "kind": "shapes"}  # pyright: ignore

    rewrite(run_dir / "run.json", plant)
    (run_dir / "complete.json").unlink()
    failure = {"kind": "crash", "message": "in /home/me/x.py", "stderr_tail": "/home/me"}
    (run_dir / "jittor" / "failure.json").write_text(json.dumps(failure))
    text = build_report(run_dir).read_text()
    assert len(paragraph(text).splitlines()) <= 3 and len(paragraph(text)) < 900
    assert text.index("## Jittor did not finish") > text.index("| [training loss")
    for planted in ("/home/me", "urlopen"):
        assert planted in text and text.index(planted) > text.index("| [peak memory")


def test_times_and_memory_have_a_table(pristine: Path) -> None:
    text = section((pristine / "report.md").read_text(), "How fast is it?")
    for name, title in (("torch", "PyTorch"), ("jittor", "Jittor")):
        row = rows(text, title)[0]
        steps, epochs = jsonl(pristine / name / "steps.jsonl"), jsonl(pristine / name / "epochs.jsonl")
        assert row[1] == f"{median(epoch['seconds'] for epoch in epochs[1:]):.3g} s"
        assert row[3] == f"{median(step['seconds'] for step in steps[STEPS_PER_EPOCH:]):.3g} s"
        assert row[4] == f"{epochs[0]['peak_memory_mb']:,.0f} MB"
    assert rows(text, "Jittor against PyTorch")[0][4] == "× 1.30"
    assert "20,184,464 parameters, 20,209,749 with" in (pristine / "report.md").read_text()


def test_only_what_differs_between_the_frameworks_stands_before_the_fold(run_dir: Path) -> None:
    where = section(build_report(run_dir).read_text(), "Where it ran")
    front, folded = where.split("<details>")
    assert [row[0] for row in rows(front, "framework_version")] == ["framework_version"]
    assert "numpy" not in front and "some | cpu, 2 cores, 8 GiB of memory, Linux." in front
    assert rows(folded, "numpy") and rows(folded, "flags.threads") and rows(folded, "host: git_commit")


def test_every_loss_term_of_the_first_step_is_listed(pristine: Path) -> None:
    text = (pristine / "report.md").read_text()
    ours, theirs = losses("torch", 0), losses("jittor", 0)
    for name, value in ours.items():
        row = rows(text, f"`{name}`")[0]
        assert row[1] == f"{value:.6g}"
        assert row[3] == f"{abs(theirs[name] - value) / value:.1e}"
        assert row[4:] == ["0.1 %", "yes"]
    worst = max(ours, key=lambda name: abs(theirs[name] - ours[name]) / ours[name])
    relative = 100 * abs(theirs[worst] - ours[worst]) / ours[worst]
    assert f"the worst term (`{worst}`) by {relative:.1e} %" in paragraph(text)


def test_the_verdict_says_when_the_curves_part(pristine: Path) -> None:
    page = (pristine / "report.md").read_text()
    text = section(page, "Does it train the same?")
    pairs = [(total("torch", step), total("jittor", step)) for step in range(65)]
    relative = [abs(b - a) / a for a, b in pairs]
    for limit, name in ((0.01, "1%"), (0.1, "10%")):
        first = next(step for step, value in enumerate(relative) if value > limit)
        assert f"{name} is first exceeded at step {first + 1}" in text
    assert f"{100 * relative[64]:.2g} % at the last common step (65)" in text
    assert f"{100 * relative[64]:.2g} % at the last common step (65)" in paragraph(page)
    assert f"{100 * relative[12]:.1e} % at the end of the first epoch (step 13)" in text
    assert "matching of queries to objects first differs at step 31" in text


def test_aps_near_zero_claim_nothing(pristine: Path) -> None:
    page = (pristine / "report.md").read_text()
    text = paragraph(page)
    assert "this budget cannot tell the frameworks apart by AP" in text
    found = section(page, "How well does it detect?")
    assert "this budget cannot tell the frameworks apart by AP" in found
    assert "parity is proven by `nox -s parity`, not by this run" in found
    assert "incomplete" not in text and "NOT COCO" not in text


@pytest.mark.parametrize(
    "ap, said",
    [
        (0.05, "within the published 3 % on train, within the published 3 % on val"),
        (0.003, "within the published 3 % on train, too close to 0 on val"),
    ],
)
@pytest.mark.usefixtures("blank_figures")
def test_larger_aps_are_compared_with_the_published_bound(tmp_path: Path, ap: float, said: str) -> None:
    text = build_report(write_run(tmp_path / "run", ap=ap)).read_text()
    found = section(text, "How well does it detect?")
    assert said in found and "no evidence either way" in found
    assert f"{5 * ap:.4f} and {5 * ap * 1.02:.4f} on train (difference {5 * ap * 0.02:+.4f})" in found
    assert f"AP on train differs by {5 * ap * 0.02:+.4f}: " in paragraph(text)
    assert "no evidence either way" in paragraph(text)


def test_every_figure_of_the_page_exists_is_a_picture_and_has_a_caption(pristine: Path) -> None:
    text = (pristine / "report.md").read_text()
    found = re.findall(r"!\[[^\]]+\]\(([^)]+)\)\n\n\*(.+)\*\n", text)
    assert {name for name, _ in found} == {path.name for path in pristine.glob("*.png")}
    assert len(found) == 5
    for name, caption in found:
        assert len(caption) > 80
        with Image.open(pristine / name) as picture:
            assert picture.width > 1000 and np.asarray(picture.convert("L")).std() > 5


def test_building_again_gives_equal_bytes_and_leaves_nothing_behind(pristine: Path, run_dir: Path) -> None:
    build_report(run_dir)
    names = {path.name for path in pristine.iterdir()}
    assert {path.name for path in run_dir.iterdir()} == names
    for name in ("report.md", "report.html", "summary.json", "report_loss.png", "report_detections.png"):
        assert (run_dir / name).read_bytes() == (pristine / name).read_bytes()


@pytest.mark.usefixtures("blank_figures")
def test_shapes_are_never_taken_for_coco(tmp_path: Path) -> None:
    text = build_report(write_run(tmp_path / "run", kind="shapes")).read_text()
    assert "**NOT COCO: coloured shapes.**" in paragraph(text)
    assert "Anything about COCO" in text


@pytest.mark.usefixtures("blank_figures")
def test_a_run_of_one_framework_compares_nothing(tmp_path: Path) -> None:
    text = build_report(write_run(tmp_path / "run", frameworks=("jittor",))).read_text()
    assert "Only Jittor trained here, so nothing is compared. AP is 0.0020 on train" in paragraph(text)
    assert "against" not in paragraph(text) and "PyTorch" not in text
    assert "The first step:" not in text


@pytest.mark.usefixtures("blank_figures")
def test_a_failed_framework_is_named_first_with_its_stderr(run_dir: Path) -> None:
    (run_dir / "complete.json").unlink()
    failure = {"kind": "crash", "message": "exit status 139", "stderr_tail": "Segfault | in\n~~~~~~ op"}
    (run_dir / "jittor" / "failure.json").write_text(json.dumps(failure))
    for name, keep in (("steps", 20), ("epochs", 1), ("evaluation", 2)):
        path = run_dir / "jittor" / f"{name}.jsonl"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:keep]))
    text = build_report(run_dir).read_text()
    assert paragraph(text).startswith("**This run is incomplete**: PyTorch recorded all 5 epochs; ")
    assert "Jittor stopped (crash) after 20 steps" in paragraph(text)
    assert "the two are at different epochs" in section(text, "How well does it detect?")
    assert text.index("Segfault | in") < text.index("## Is it the same function?")
    for row in ("training loss (total), last epoch", "AP, training images", "AP, validation images"):
        assert headline(text)[row][2] == "–"
    assert re.search(r"at the last common step \(20\)", paragraph(text))


@pytest.mark.usefixtures("blank_figures")
def test_a_framework_that_failed_before_its_first_step(run_dir: Path) -> None:
    for path in (run_dir / "jittor").iterdir():
        path.unlink()
    (run_dir / "jittor" / "failure.json").write_text(json.dumps({"kind": "memory", "message": "killed"}))
    text = build_report(run_dir).read_text()
    assert "Jittor stopped (memory) after 0 steps" in paragraph(text)
    assert "Only PyTorch trained here" in paragraph(text)


@pytest.mark.usefixtures("blank_figures")
def test_an_interrupted_run_says_so_first(run_dir: Path) -> None:
    (run_dir / "complete.json").unlink()
    for name in ("jittor", "samples.json", "samples.safetensors"):
        path = run_dir / name
        _ = [each.unlink() for each in path.iterdir()] if path.is_dir() else path.unlink()
    text = build_report(run_dir).read_text()
    assert "Jittor recorded 0 of 5 epochs (0 steps) so far" in paragraph(text)
    assert "nothing to draw" in text
    assert not (run_dir / "report_detections.png").exists()


@pytest.mark.usefixtures("blank_figures")
def test_every_framework_failed_at_once(run_dir: Path) -> None:
    for name in ("torch", "jittor"):
        _ = [path.unlink() for path in (run_dir / name).iterdir()]
        (run_dir / name / "failure.json").write_text(json.dumps({"kind": "crash", "message": "no"}))
    text = build_report(run_dir).read_text()
    assert "this report holds no result" in paragraph(text) and "No step was recorded." in text


@pytest.mark.usefixtures("blank_figures")
def test_a_loss_that_disagrees_at_the_first_step_is_said_in_bold(run_dir: Path) -> None:
    _change_first_step(run_dir, {"loss_giou": losses("torch", 0)["loss_giou"] * 1.01})
    text = build_report(run_dir).read_text()
    assert "**The first step does not agree**" in paragraph(text) and "(`loss_giou`)" in paragraph(text)
    assert rows(text, "`loss_giou`")[0][5] == "**no**"
    assert "**1 of 21 terms break the published bound**" in text


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.usefixtures("blank_figures")
def test_a_loss_that_is_no_number_never_agrees(run_dir: Path, value: float) -> None:
    _change_first_step(run_dir, {"loss_vfl": value})
    text = build_report(run_dir).read_text()
    assert "**The first step does not agree**" in paragraph(text)
    assert rows(text, "`loss_vfl`")[0][3:] == ["nan", "0.1 %", "**no**"]


@pytest.mark.usefixtures("blank_figures")
def test_a_term_that_one_side_lacks_never_agrees(run_dir: Path) -> None:
    _change_first_step(run_dir, {"loss_new": 0.5})
    assert "(`loss_new`)" in paragraph(build_report(run_dir).read_text())


@pytest.mark.usefixtures("blank_figures")
def test_other_learning_rates_make_it_another_experiment(run_dir: Path) -> None:
    path = run_dir / "jittor" / "steps.jsonl"
    items = jsonl(path)
    for item in items[10:]:
        item["lr"] = [3e-4, 1e-5]  # pyright: ignore[reportArgumentType]
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    assert "**The learning rates differ from step 11 on" in paragraph(build_report(run_dir).read_text())


def test_identical_frameworks_have_no_difference_to_draw(run_dir: Path) -> None:
    (run_dir / "jittor" / "steps.jsonl").write_text((run_dir / "torch" / "steps.jsonl").read_text())
    text = build_report(run_dir).read_text()
    assert "The two curves are identical at every step." in text
    assert "All 21 loss terms are identical." in text


@pytest.mark.usefixtures("blank_figures")
def test_a_sample_image_of_another_form_is_an_error_and_keeps_the_old_report(run_dir: Path) -> None:
    old = build_report(run_dir).read_text()
    path = run_dir / "samples.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"image_11": np.zeros((3, 8, 8), np.float32)}, path)
    with pytest.raises(UserError, match=r"image_11 should be uint8 \[H, W, 3\], found float32 \[3, 8, 8\]"):
        build_report(run_dir)
    assert (run_dir / "report.md").read_text() == old
    assert not list(run_dir.glob(".report-*"))


@pytest.mark.usefixtures("blank_figures")
def test_optional_facts_may_be_absent(run_dir: Path) -> None:
    def strip(meta: dict[str, object]) -> None:
        for key in ("parameters", "environment", "deviations", "command", "created"):
            del meta[key]
        meta["data"] = {"kind": "coco-folder"}

    rewrite(run_dir / "run.json", strip)
    text = build_report(run_dir).read_text()
    assert "The run did not record its environment." in text


def test_the_command_reports_a_bad_folder_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere")]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and captured.err.startswith("error: ")


@pytest.mark.parametrize("how", [["-m", "reports.build"], [str(ROOT / "reports" / "build.py")]])
def test_both_ways_to_start_the_command(how: list[str], run_dir: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT)} if how[0] == "-m" else dict(os.environ)
    # the script must find its own checkout: nothing but its path tells it where that is
    cwd = ROOT if how[0] == "-m" else run_dir
    done = subprocess.run([sys.executable, *how, str(run_dir)], cwd=cwd, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, str(run_dir / "report.md")), done.stderr


def _change_first_step(run_dir: Path, changes: dict[str, float]) -> None:
    path = run_dir / "jittor" / "steps.jsonl"
    first, *others = path.read_text().splitlines(keepends=True)
    item = json.loads(first)
    item["losses"] |= changes
    path.write_text(json.dumps(item) + "\n" + "".join(others))


@pytest.mark.usefixtures("blank_figures")
def test_compiled_kernels_of_steps_and_evaluations_are_added_up(tmp_path):
    run_dir = write_run(tmp_path / "run")
    assert " compiled " not in build_report(run_dir).read_text(), "an old run recorded none"
    for name, kernels, seconds in (("steps", 30, 20.5), ("evaluation", 5, 1.5)):
        path = run_dir / "jittor" / f"{name}.jsonl"
        first, *others = path.read_text().splitlines()
        record = json.loads(first) | {"kernels_compiled": kernels, "compile_seconds": seconds}
        path.write_text("\n".join([json.dumps(record), *others]) + "\n")
    text = build_report(run_dir).read_text()
    assert "Jittor compiled 35 kernels in 22 s while it trained and evaluated." in text


@pytest.mark.usefixtures("blank_figures")
def test_precision_is_drawn_over_the_epochs_if_a_split_was_evaluated_twice(run_dir: Path) -> None:
    text = build_report(run_dir).read_text()
    assert "on the training images during the training: PyTorch reaches AP50 0.00 and AP 0.00 after epoch 5" in text
    for name in ("torch", "jittor"):
        path = run_dir / name / "evaluation.jsonl"
        path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines() if '"epoch": 4' in line))
    text = build_report(run_dir).read_text()
    assert "report_precision" not in text and not (run_dir / "report_precision.png").exists()
