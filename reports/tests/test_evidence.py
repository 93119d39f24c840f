"""docs/evidence.md: the committed page is the generated one, and records replace only their own part."""

import json
import shutil
from pathlib import Path

import pytest

from reports.evidence import EXAMPLES, FACTS, PAGE, ROOT, evidence_page, main
from reports.tests.parity_lines import record, session, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with the rows of the committed page."""
    (tmp_path / FACTS).parent.mkdir(parents=True)
    (tmp_path / PAGE).parent.mkdir()
    for each in (ROOT / FACTS, *(ROOT / EXAMPLES).glob("*.jsonl")):
        shutil.copy(each, tmp_path / EXAMPLES)
    return tmp_path


def test_the_committed_page_is_what_the_generator_makes(root: Path) -> None:
    committed = (ROOT / PAGE).read_text(encoding="utf-8")
    assert committed == evidence_page(), f"run python -m reports.evidence and commit {PAGE}"
    assert main([], root) == 0
    assert (root / PAGE).read_text() == committed and (root / FACTS).read_text() == (ROOT / FACTS).read_text()


def test_records_replace_their_own_part_only(root: Path) -> None:
    before = json.loads((root / FACTS).read_text())
    lines = [
        *session(),
        record(error=2e-5, limit=1e-4, framework="torch", dtype="float32"),
        {"environment": {"name": "jittor"}},
    ]
    assert main([str(write(root / "records.jsonl", lines))], root) == 0
    after, text = json.loads((root / FACTS).read_text()), (root / PAGE).read_text()
    assert after["zoo"] == before["zoo"] and after["training"] == before["training"]
    assert after["fast"]["origin"].startswith("**Parity holds**: 109 comparisons")
    assert "1 comparison exceeds it: 1 of PyTorch in float32." in text
    assert "no GPU here" in text and "torch.version" in text
    assert all((root / "reports/examples" / name).is_file() for name in ("parity.png", "parity_depth.png"))
    assert not (root / "reports/examples/zoo").exists()
    assert text == evidence_page(root), "without records the page is the same again"


def test_zoo_records_also_make_the_page_of_the_zoo(root: Path) -> None:
    records = write(root / "records.jsonl", [record(preset="rtdetr_x", error=1.0, passed=False)])
    assert main([str(records), str(records)], root) == 0
    text = (root / PAGE).read_text()
    assert text.count("**Parity fails**: 1 of 1 comparison") == 2 and "| `rtdetr_x` " in text
    assert "**Parity fails**" in (root / "reports/examples/zoo/parity.md").read_text()


def test_records_that_cannot_be_read_change_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (root / FACTS).read_text()
    assert main([str(root / "nothing.jsonl")], root) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert (root / FACTS).read_text() == before and not (root / PAGE).exists()
