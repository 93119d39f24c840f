"""The page of the planted faults counts what its records hold, and says what has not been run."""

import json

import pytest

from frameworks.errors import UserError
from reports.mutants import PAGE, mutants_page

CATALOGUE = [
    ("decoder", "no anchors", "torch"),
    ("decoder", "no anchors", "jittor"),
    ("decoder", "two anchors", "torch"),
    ("layers", "no norm", "torch"),
    ("data", "no flip", "shared"),
]


def line(area: str, name: str, place: str, status: str, **fields) -> dict:
    """One record."""
    empty = dict.fromkeys(("stage", "test", "blamed", "blamed_where", "blamed_by", "blame_right", "weak", "error"))
    more = {
        "until": "steps",
        "blame": ["decoder"],
        "equivalent": "",
        "wanted": "",
        "seconds": 1.0,
        "searched": True,
    }
    identity = {"key": name, "area": area, "name": name, "planted_in": place, "status": status}
    return identity | empty | more | {"date": "2026-01-02"} | fields


def page(tmp_path, *lines: dict) -> str:
    file = tmp_path / "results.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in ({"catalogue": CATALOGUE}, *lines)))
    return mutants_page(file)


WEAK = {"published bounds": True, "mean difference": False, "allclose, rtol 1": False}
KILLED = {"stage": "training pass", "blamed": "decoder", "blamed_where": "inputs", "blamed_by": "search"}


def test_what_became_of_each_fault(tmp_path):
    text = page(
        tmp_path,
        line("decoder", "no anchors", "torch", "survived"),
        line("decoder", "no anchors", "torch", "killed", **KILLED, blame_right=True, weak=WEAK),  # asked again
        line("decoder", "two anchors", "torch", "survived", wanted="a third anchor", until="all others"),
        line("layers", "no norm", "torch", "equivalent", equivalent="there is none"),
        line("data", "no flip", "shared", "killed", stage="unit tests", until="unit tests"),
    )
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in text.splitlines() if row.startswith("|")]
    assert ["PyTorch twin", "3", "1", "1", "0", "1", "0", "50.0 %"] in rows
    assert ["Jittor twin", "1", "0", "0", "0", "0", "1", "–"] in rows
    assert ["training pass", "1", "0", "0", "1"] in rows
    assert ["the search for the culprit", "1", "1", "100.0 %"] in rows
    assert ["mean difference", "1", "1", "100.0 %"] in rows
    assert "Not run yet: 1." in text
    assert "**decoder: two anchors** [torch]. Wanted: a third anchor." in text
    assert "there is none: layers: no norm [torch]" in text


def test_a_wrong_blame_is_listed(tmp_path):
    wrong = KILLED | {"blamed": "backbone", "blame_right": False}
    text = page(tmp_path, line("decoder", "no anchors", "torch", "killed", **wrong))
    assert "backbone (inputs)" in text


def test_a_fault_that_was_not_asked_of_every_stage_is_open(tmp_path):
    text = page(tmp_path, line("decoder", "no anchors", "torch", "survived"))
    assert "- decoder: no anchors [torch], steps" in text
    assert "None of those that were asked of every stage." in text


def test_a_failed_examination_counts_as_not_run(tmp_path):
    assert "Not run yet: 5." in page(tmp_path, line("decoder", "no anchors", "torch", "error"))


def test_other_records_are_refused(tmp_path):
    file = tmp_path / "records.jsonl"
    file.write_text("{}\n")
    with pytest.raises(UserError, match="catalogue"):
        mutants_page(file)


def test_the_committed_page_is_what_the_committed_records_make():
    wanted = mutants_page(PAGE.with_suffix(".jsonl"))
    assert PAGE.read_text("utf-8") == wanted, "run python -m reports.mutants reports/examples/mutants.jsonl"
