"""The Chinese catalogue: complete, nothing stale, the same gaps; and pages without an English sentence left."""

import ast
import re
import string
from pathlib import Path

import pytest
from jinja2 import Environment
from jinja2.ext import extract_from_ast

from reports import formatting as show
from reports.build import build_report, main
from reports.language import catalogue, in_language, say
from reports.run.claims import read_claims
from reports.tests.run_folder import add_validation_losses, write_run
from reports.tests.test_error_types import write_ground_truth
from reports.tests.test_recorded_precision import record_precision
from reports.tests.test_report_files import Tags
from reports.tests.test_verdict import bootstrap, certify

REPORTS = Path(__file__).resolve().parents[1]
CHINESE = re.compile(r"[\u4e00-\u9fff]")
# What records hold stands in a page as it is.
AS_RECORDED = ("images drawn by seed from a folder", "epochs instead of 72", "of 320 px instead of 640")


def sentences() -> set[str]:
    """All keys that code and templates ask for."""
    found = {claim.claim for claim in read_claims()}
    for path in REPORTS.rglob("*.py"):
        if "tests" not in path.parts:
            found |= _of_code(ast.parse(path.read_text("utf-8")))
    for path in (REPORTS / "templates").glob("*.j2"):
        tree = Environment().parse(path.read_text("utf-8"))
        for _, _, text in extract_from_ast(tree, gettext_functions=("say",)):
            found |= {each for each in (text if isinstance(text, tuple) else (text,)) if each}
    return found


def _of_code(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        last = node.args[-1] if node.args else None
        if isinstance(last, ast.Constant) and name == "say":
            found.add(last.value)
        elif isinstance(last, ast.Constant) and name == "count" and isinstance(last.value, str):
            found.add(f"{{number:,}} {last.value}")
    return found


def gaps(sentence: str) -> set[tuple[str, str]]:
    return {(name, form or "") for _, name, form, _ in string.Formatter().parse(sentence) if name}


def test_the_catalogue_is_complete_and_has_nothing_stale() -> None:
    asked, known = sentences(), set(catalogue("zh"))
    assert len(asked) > 150
    of_other_pages = {key for key in asked if key.startswith("{number:,} ")}
    assert asked - known <= of_other_pages and known <= asked, (sorted(asked - known), sorted(known - asked))


def test_every_sentence_has_the_gaps_of_its_key() -> None:
    assert not {key: text for key, text in catalogue("zh").items() if gaps(key) != gaps(text)}


def test_what_a_catalogue_lacks_stays_english() -> None:
    assert say("no such {thing}", thing=1) == "no such 1"
    with in_language("zh"):
        assert say("no such {thing}", thing=1) == "no such 1" and say("yes") == "是"
        assert show.count(2, "strange noun") == "2 strange nouns" and show.count(1200, "step") == "1,200 步"
        assert show.labels(["torch", "jittor"]) == "PyTorch 和 Jittor"
    assert say("yes") == "yes" and show.count(2, "step") == "2 steps"


def english_left(text: str) -> list[str]:
    """Runs of three English words outside code, addresses and what records hold."""
    text = re.sub(r"~~~~~~.*?~~~~~~|```.*?```|`[^`]*`|\]\([^)]*\)", " ", text, flags=re.DOTALL)
    for each in AS_RECORDED:
        text = text.replace(each, " ")
    return re.findall(r"[A-Za-z']{2,}(?: [a-z']{2,}){2,}", text)


def headings_left(text: str) -> set[str]:
    """English words in the headings of tables, but for `epoch` and `train`, which are ones in Chinese, too."""
    headings = re.findall(r"^\|(.*)\|\n\|:?-", text, flags=re.MULTILINE)
    return set(re.findall(r"\b[a-z]{4,}\b", " ".join(headings))) - {"epoch", "train"}


@pytest.mark.usefixtures("blank_figures")
def test_a_chinese_report_has_no_english_sentence(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", ap=0.05, controls=1)
    certify(folder)
    bootstrap(folder, jittor=(0.06, 0.03, 0.09), control1=(0.01, -0.01, 0.02))
    add_validation_losses(folder)
    alone = write_run(tmp_path / "alone", frameworks=("jittor",), kind="shapes")
    early = write_run(tmp_path / "early")
    (early / "complete.json").unlink()
    full = write_run(tmp_path / "full", ap=0.05, controls=1)
    certify(full)
    record_precision(full)
    write_ground_truth(full, "val", (21, 22))
    for run in (folder, alone, early, full):
        english = build_report(run).read_text()
        summary = (run / "summary.json").read_text()
        text = build_report(run, "zh").read_text()
        assert len(english_left(english)) > 30 and not english_left(text)
        assert "framework" in headings_left(english) and not headings_left(text)
        assert len(CHINESE.findall(text)) > 500
        assert (run / "summary.json").read_text() == summary, "a program reads one form"
        assert re.findall(r"\(report_\w+\.png\)", text) == re.findall(r"\(report_\w+\.png\)", english)
        for target in re.findall(r"\]\(#([^)]*)\)", text):
            assert f'id="{target}"' in (run / "report.html").read_text(), target
        assert "**" not in Tags((run / "report.html").read_text()).text, "Markdown was left over"
        assert '<html lang="zh">' in (run / "report.html").read_text()


@pytest.mark.usefixtures("blank_figures")
def test_the_command_speaks_chinese(run_dir: Path) -> None:
    assert main([str(run_dir), "--lang", "zh"]) == 0
    assert CHINESE.search((run_dir / "report.md").read_text().splitlines()[0])
