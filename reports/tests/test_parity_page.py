"""The parity page: passes, failures, and everything that must never look like a pass."""

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from frameworks.errors import UserError
from frameworks.shared.stages import STAGE_OF_PREFIX, STAGES, module_position
from reports.parity.page import build_parity_page, main, summary_table
from reports.parity.records import parse
from reports.tests.parity_lines import MODULES, record, session, write


def page(tmp_path: Path, lines: list[dict[str, Any]]) -> str:
    return build_parity_page(write(tmp_path / "records.jsonl", lines), tmp_path / "out").read_text()


def verdict(text: str) -> str:
    return text.split("\n\n")[1]


def cells(text: str, *first: str) -> list[str]:
    """The cells of the one table row that begins with the cells `first`."""
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    (row,) = [row for row in table if tuple(row[: len(first)]) == first]
    return row


def test_a_clean_session_passes_with_its_worst_margin(tmp_path: Path) -> None:
    text = page(tmp_path, session())
    compared = [line for line in session() if "error" in line]
    worst = max(compared, key=lambda line: line["error"] / line["limit"])
    assert verdict(text).startswith(f"**Parity holds**: {len(compared)} comparisons of 18 tensors")
    margin = worst["error"] / worst["limit"]
    assert f"is {margin:.2g}, at `{worst['module']}` / `{worst['tensor']}` (loss, float32" in verdict(text)
    assert "1 test skipped" in verdict(text) and "no GPU here" in text and "| torch.version | 2.13.0" in text
    assert "## Failures" not in text
    with Image.open(tmp_path / "out" / "parity.png") as picture:
        assert picture.width > 1000
    names = ["parity.md", "parity.png", "parity_depth.png"]
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == names


def test_the_summary_counts_each_group_apart() -> None:
    text = summary_table(session())
    group = [
        line
        for line in session()
        if "error" in line and (line["judge"], line["stage"], line["dtype"]) == ("oracle", "forward", "float32")
    ]
    row = cells(text, "oracle", "forward", "float32")
    worst = max(line["error"] for line in group)
    assert row[3:] == ["16", str(len(group)), f"{worst:.1e}", "2.0e-06", f"{worst / 2e-6:.2g}", "1.0e-05", "0", "0"]


def test_every_preset_has_a_row_with_its_own_worst_errors(tmp_path: Path) -> None:
    lines = [
        record(preset="a", stage="forward", dtype="float64", judge="twin", error=2e-13, limit=1e-11),
        record(preset="a", stage="forward", dtype="float64", judge="oracle", error=5e-12, limit=1e-11),
        record(preset="a", stage="forward", dtype="float32", judge="twin", error=3e-6, limit=1e-5),
        record(preset="b", stage="backward", dtype="float64", judge="twin", error=float("nan"), limit=1e-10),
    ]
    text = page(tmp_path, lines)
    assert cells(text, "`a`") == ["`a`", "twin, oracle", "3", "2.0e-13", "–", "–", "–", "0.5", "0"]
    assert cells(text, "`b`")[5:] == ["nan", "–", "**inf**", "**1**"]


def test_a_summary_shows_ranges_of_limits_and_the_published_bounds_that_are_exceeded() -> None:
    lines = [
        record(error=2e-5, limit=1e-4),
        record(tensor="b", limit=1e-8),
        record(tensor="c", published_bound=None),
    ]
    row = cells(summary_table(lines), "twin", "forward", "float64")
    assert row[6] == "1.0e-10 to 1.0e-04" and row[8:] == ["1.0e-05", "1", "0"]


def test_a_failure_is_named_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    bad = record(module="decoder.layers.2", tensor="boxes", error=3e-9, passed=False, device="cuda", case="eval")
    text = page(tmp_path, [*session(), bad])
    assert verdict(text).startswith("**Parity fails**: 1 of 109 comparisons")
    assert cells(text, "`decoder.layers.2`", "`boxes`") == [
        "`decoder.layers.2`",
        "`boxes`",
        "forward",
        "float64",
        "cuda",
        "Jittor",
        "twin",
        "rtdetr_r18vd: eval",
        "3.0e-09",
        "1.0e-10",
        "2.0e-16",
    ]
    assert cells(text, "twin", "forward", "float64", "cuda")[-1] == "**1**"
    assert "**Right of the line, or failed without a number**: `decoder.layers.2`" in text


@pytest.mark.parametrize(
    "changes",
    [
        {"error": float("nan")},
        {"error": None},
        {"error": float("inf")},
        {"error": -1.0},
        {"limit": float("nan")},
        {"limit": float("inf"), "error": float("inf")},
        {"error": 2e-10},
        {"error": 1e-30, "limit": 0.0},
        {"passed": False},
    ],
)
def test_what_never_passes_even_if_the_record_says_so(tmp_path: Path, changes: dict[str, Any]) -> None:
    text = page(tmp_path, [record(), record(**({"module": "encoder"} | changes))])
    assert verdict(text).startswith("**Parity fails**: 1 of 2 comparisons") and "`encoder`" in verdict(text)


def test_a_discrete_result_meets_the_limit_zero_exactly(tmp_path: Path) -> None:
    assert "**Parity holds**" in page(tmp_path, [record(error=0.0, limit=0.0)])


@pytest.mark.parametrize("lines", [[], [{"skipped": "no GPU", "test": "a"}, {"environment": {}}]])
def test_comparing_nothing_is_an_error(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    with pytest.raises(UserError, match="nothing was compared, which is not a pass"):
        page(tmp_path, lines)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="nothing was compared"):
        summary_table(lines)


@pytest.mark.parametrize(
    "line, said",
    [
        ({"stage": "forward"}, "record 2 lacks 'module'"),
        (record(error="small"), "record 2: error is 'small'"),
        (record(passed="yes"), "record 2: passed is 'yes'"),
    ],
)
def test_a_broken_record_is_an_error(tmp_path: Path, line: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        page(tmp_path, [record(), line])


def test_modules_stand_in_data_flow_order() -> None:
    assert sorted(MODULES, key=module_position) == [
        *("backbone.conv1", "backbone.res_layers.0", "backbone.res_layers.1"),
        *("encoder.input_proj", "encoder.fpn_blocks.0"),
        *("decoder.input_proj", "decoder.decoder.layers.0", "decoder.decoder.layers.1", "criterion"),
    ]
    assert sorted(["unheard", "decoder", "images"], key=module_position) == ["images", "decoder", "unheard"]


def test_every_stage_stands_in_data_flow_order() -> None:
    lines = [record(stage=stage) for stage in (*reversed(STAGES), "another stage")]
    table = summary_table(lines).splitlines()[2:]
    assert [row.split("|")[2].strip() for row in table] == [*STAGES, "another stage"]
    assert set(STAGE_OF_PREFIX.values()) == set(STAGES), "a stage that no array has, or an array without a stage"


def test_many_modules_are_folded_to_what_fits_and_keep_their_maximum(tmp_path: Path) -> None:
    lines = [record(module=f"backbone.layer{i % 3}.conv{i}", error=1e-13 * i) for i in range(120)]
    assert "**Parity holds**" in page(tmp_path, lines)
    with Image.open(tmp_path / "out" / "parity.png") as picture:
        assert picture.height < 1000
    assert parse(lines).worst.module == "backbone.layer2.conv119"


def test_a_cut_last_line_is_noted(tmp_path: Path) -> None:
    path = write(tmp_path / "records.jsonl", [record(), record()])
    path.write_text(path.read_text()[:-9])
    text = build_parity_page(path, tmp_path / "out").read_text()
    assert "line 2 was cut off" in text and "1 comparison of 1 tensor, all within" in text


def test_the_command_exits_by_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "records.jsonl", [record()])
    assert main([str(path), str(tmp_path)]) == 0
    assert main([str(write(path, [record(error=1.0)])), str(tmp_path)]) == 1
    capsys.readouterr()
    assert main([str(tmp_path / "nothing.jsonl"), str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
