"""Framework styles: distinct for every name, and a third framework in both reports."""

import dataclasses
import re
from pathlib import Path

from matplotlib.colors import to_rgb
from PIL import Image

import frameworks
from reports.build import build_report
from reports.frameworks import style_of
from reports.parity.page import build_parity_page
from reports.style import GROUND_TRUTH_COLOR, NEUTRAL_COLOR
from reports.tests.parity_lines import record, session, write
from reports.tests.run_folder import write_run

THIRD = "numpy"


def picture_has(path: Path, color: str) -> bool:
    """Whether a pixel of the picture has exactly this colour."""
    wanted = tuple(round(255 * part) for part in to_rgb(color))
    with Image.open(path) as picture:
        found = picture.convert("RGB").getcolors(picture.width * picture.height)
    return any(pixel == wanted for _, pixel in found or ())


def test_no_two_frameworks_look_alike() -> None:
    styles = [style_of(name) for name in (*frameworks.ADAPTERS, *frameworks.JUDGES, THIRD)]
    for field in dataclasses.fields(styles[0]):
        if field.name != "width":
            assert len({str(getattr(style, field.name)) for style in styles}) == len(styles), field.name
    assert not {style.color for style in styles} & {GROUND_TRUTH_COLOR, NEUTRAL_COLOR}
    assert all(abs(style.offset) < 0.5 for style in styles), "a mark must stay in its own row"


def test_a_framework_without_a_row_is_labelled_by_its_name() -> None:
    assert style_of(THIRD).label == THIRD and style_of("jittor").label == "Jittor"


def test_a_run_report_of_three_frameworks(tmp_path: Path) -> None:
    page = build_report(write_run(tmp_path / "run", frameworks=("torch", "jittor", THIRD)))
    text = page.read_text()
    assert text.startswith("# PyTorch, Jittor and numpy: rtdetr_r18vd, one training run\n")
    for other in ("Jittor", THIRD):
        assert f"## The first step: PyTorch and {other}\n" in text
        assert re.search(rf"^\| {other} against PyTorch ", text, re.MULTILINE)
    for figure in ("report_loss.png", "report_detections.png", "report_terms.png"):
        assert picture_has(page.parent / figure, style_of(THIRD).color), figure


def test_a_parity_page_of_three_frameworks(tmp_path: Path) -> None:
    third = [line | {"framework": THIRD} for line in session() if line.get("framework") == "jittor"]
    failed = record(framework=THIRD, error=1.0, passed=False)
    records = write(tmp_path / "records.jsonl", [*session(), *third, failed])
    text = build_parity_page(records, tmp_path).read_text()
    assert f"{THIRD} judged by twin" in text
    assert picture_has(tmp_path / "parity.png", style_of(THIRD).color)
