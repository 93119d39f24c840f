"""A run folder of an earlier version, interrupted in its second epoch, is still reported on and still resumed.

``reference/run`` was written by commit e63902b, from the six drawn images in ``reference/data``. A change of this
code that fails here breaks the run folders that people have.
"""

import json
import shutil
from pathlib import Path

import pytest

from experiments.tests.runs import meta, resume, rows
from reports.build import build_report
from reports.run.records import read_run

REFERENCE = Path(__file__).parent / "reference"
pytestmark = [
    pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad:UserWarning"),
    pytest.mark.usefixtures("one_thread"),
]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the old run folder that finds its data here."""
    shutil.copytree(REFERENCE / "run", tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    path.write_text(path.read_text().replace('"root": "/data"', f'"root": {json.dumps(str(REFERENCE / "data"))}'))
    return tmp_path / "run"


def test_a_report_is_built_from_an_old_run(old: Path) -> None:
    records = read_run(old)
    (torch,) = records.frameworks
    assert [step.step for step in torch.steps] == [0, 1, 2] and [epoch.epoch for epoch in torch.epochs] == [0]
    assert not records.complete and records.notes == ("torch/evaluation.jsonl: was not written",)
    shown = [(sample.image_id, sample.split) for sample in records.samples]
    assert shown == [(1, "train"), (2, "train"), (12, "val"), (11, "val")]
    text = build_report(old).read_text()
    for fragment in ("run is incomplete", "1 of 2 epochs", "`9633fbb78bee", "11,518", "NOT COCO", "AMD EPYC"):
        assert fragment in text


def test_an_old_run_is_resumed_to_its_end(old: Path) -> None:
    before, first_epoch = meta(old), (old / "torch" / "steps.jsonl").read_text().splitlines()[:2]
    assert resume(old) == 0
    records = read_run(old)
    assert records.complete and not records.notes
    assert (old / "torch" / "steps.jsonl").read_text().splitlines()[:2] == first_epoch
    assert [each["step"] for each in rows(old / "torch" / "steps.jsonl")] == [0, 1, 2, 3]
    assert [each["split"] for each in rows(old / "torch" / "evaluation.jsonl")] == ["train", "val"]
    after = meta(old)
    assert list(after) == list(before) and len(after["resumed"]) == 1
    changed = {key for key in before if after[key] != before[key]}
    assert changed <= {"resumed", "environment"}
    assert after["environment"]["torch"]["kernels"] == "reference", "as it was started: there was nothing else"
