"""Data sets that are not COCO, from the command line to the report."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments.data.coco import annotation_path
from experiments.run import main
from experiments.runs.host import ROOT
from experiments.tests.data_sets import own_classes, shapes, voc_object, voc_year
from experiments.tests.runs import TORCH, counting, meta, resume, rows, run, said_error
from experiments.tests.steppers import CountingStepper
from frameworks.arrays import load_arrays
from reports.run.records import read_run

Capture = pytest.CaptureFixture[str]
NAMES = [f"part {letter}" for letter in "abcdefghijkl"]
pytestmark = [
    pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad:UserWarning"),
    pytest.mark.usefixtures("one_thread"),
]


@pytest.fixture(scope="module")
def twelve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve classes with the ids 1..12, of which 12 is none of COCO's."""
    return own_classes(tmp_path_factory.mktemp("own") / "data", NAMES, images=6)


def test_the_example_of_the_documentation_trains(twelve: Path, tmp_path: Path, capsys: Capture) -> None:
    text = (ROOT / "docs" / "training.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert "num_classes: 12" in example and "inherit: rtdetrv2_r18vd" in example
    path = tmp_path / "mine.yml"
    path.write_text(example.replace("inherit: rtdetrv2_r18vd", "inherit: tiny"))
    out = tmp_path / "run"
    assert (
        main(
            [
                "--preset",
                str(path),
                "--data",
                str(twelve),
                "--subset",
                "6",
                "--out",
                str(out),
                *TORCH,
                "--epochs",
                "1",
                "--image-size",
                "64",
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    assert "classes: 12 of the data set's own (part a, part b" in said and "ids 1..12 are labels 0..11" in said
    assert "train: 6 images (0 without objects); 12 of 12 objects in use" in said
    spec = meta(out)["spec"]
    assert (spec["model"]["num_classes"], spec["data"]["dataset"]) == (12, "custom")
    assert spec["data"]["categories"] == NAMES
    assert load_arrays(out / "initial.safetensors")["decoder.enc_score_head.weight"].shape[0] == 12
    records = read_run(out)
    assert records.complete and records.categories == dict(enumerate(NAMES, start=1))
    assert {each["category_id"] for each in json.loads((out / "torch/predictions_val.json").read_text())} <= set(
        range(1, 13)
    )
    assert "Objects, train: 12 of 12 objects are in use" in (out / "report.md").read_text()


def test_labels_and_ids_stay_together_and_a_resumed_run_has_the_same(
    twelve: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(twelve, root)
    (validation := annotation_path(root, "val")).write_text(_with_two_categories(validation))
    preset = tmp_path / "mine.yml"
    preset.write_text(f"inherit: tiny\nname: mine\ndata: {{categories: {json.dumps(NAMES[::-1])}}}\n")
    stepper = CountingStepper()
    counting(monkeypatch, torch=stepper)
    assert run(root, out, *TORCH, "--preset", str(preset), subset=6, epochs=1) == 0
    labels = np.concatenate([batch["labels"] for batch, _, _ in stepper.calls])
    assert sorted(labels) == list(range(12)), "each class once"
    (out / "complete.json").unlink()
    assert resume(out) == 0
    assert {row["split"] for row in rows(out / "torch/evaluation.jsonl")} == {"train", "val"}
    found = json.loads((out / "torch/predictions_val.json").read_text())
    assert {each["category_id"] for each in found} == {12}, "label 0 is the last category, as the file says"


def _with_two_categories(path: Path) -> str:
    document = json.loads(path.read_text())
    document["categories"] = document["categories"][2:4]
    listed = {each["id"] for each in document["categories"]}
    document["annotations"] = [each for each in document["annotations"] if each["category_id"] in listed]
    return json.dumps(document)


def test_category_ids_from_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = own_classes(tmp_path / "data", ["helmet", "vest", "glove"], first_id=0, images=3)
    stepper = CountingStepper()
    counting(monkeypatch, torch=stepper)
    assert run(root, tmp_path / "run", *TORCH, subset=3, epochs=1) == 0
    found = json.loads((tmp_path / "run/torch/predictions_val.json").read_text())
    assert {each["category_id"] for each in found} == {0}
    assert read_run(tmp_path / "run").categories == {0: "helmet", 1: "vest", 2: "glove"}


def test_a_wrong_number_of_classes_is_one_line_before_anything_starts(
    twelve: Path, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "mine.yml"
    path.write_text("inherit: tiny\nname: mine\nmodel: {num_classes: 11}\n")
    for asked in (["--subset", "4", "--out", str(tmp_path / "run")], ["--check-data"]):
        assert main([*asked, "--preset", str(path), "--data", str(twelve)]) == 2
        said_error(capsys, path, "num_classes is 11", "12 (part a")
    assert not (tmp_path / "run").exists()


def test_splits_that_contradict_each_other(twelve: Path, tmp_path: Path, capsys: Capture) -> None:
    shutil.copytree(twelve, tmp_path / "data")
    path = annotation_path(tmp_path / "data", "val")
    path.write_text(path.read_text().replace("part c", "part d"))
    assert main(["--check-data", "--data", str(tmp_path / "data")]) == 2
    said_error(capsys, path, "named 'part d'")


def test_voc_trains_with_its_twenty_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cat = [voc_object("cat", (10, 5, 40, 30)), voc_object("aeroplane", (0, 0, 20, 20), difficult=1)]
    lists = {"train": ["a", "b"], "val": ["c"]}
    root = voc_year(tmp_path / "VOC2012", lists, dict.fromkeys("abc", cat))
    stepper = CountingStepper()
    counting(monkeypatch, torch=stepper)
    out = tmp_path / "run"
    assert (
        main(
            [
                "--preset",
                "rtdetrv2_r18vd_voc",
                "--data",
                str(root),
                "--subset",
                "2",
                "--out",
                str(out),
                *TORCH,
                "--epochs",
                "1",
                "--image-size",
                "128",
            ]
        )
        == 0
    )
    assert [sorted(batch["labels"]) for batch, _, _ in stepper.calls] == [[0, 0, 7, 7]]
    said = meta(out)
    assert (said["spec"]["data"]["dataset"], said["spec"]["model"]["num_classes"]) == ("voc", 20)
    assert said["data"]["kind"] == "voc-folder"
    assert said["data"]["account"]["train"]["findings"][0]["count"] == 2, "difficult objects are said"


def test_check_data_prints_the_account_and_trains_nothing(tmp_path: Path, capsys: Capture) -> None:
    root = shapes(tmp_path)
    assert main(["--check-data", "--data", str(root)]) == 0
    said = capsys.readouterr().out
    for fragment in (
        "NOT COCO",
        "train: 7 images",
        "val: 4 images",
        "1 marked as crowd (first: annotation",
        "every image",
    ):
        assert fragment in said
    assert main(["--check-data", "--data", str(root), "--subset", "3"]) == 0
    assert "train: 3 images" in capsys.readouterr().out
    for image in sorted((root / "val2017").iterdir())[:3]:
        image.write_bytes(b"")
    assert main(["--check-data", "--data", str(root)]) == 2
    captured = capsys.readouterr()
    assert "val: 4 images" in captured.out, "the account comes first"
    assert "not an image" in captured.err and "and 2 other images" in captured.err


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--epochs", "2"], ["--check-data", "--epochs"]),
        (["--subset", "0"], ["--subset is 0"]),
        ([], ["--data DIR"]),
    ],
)
def test_check_data_takes_no_option_of_a_run(
    arguments: list[str], fragments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.delenv("COCO_ROOT", raising=False)
    assert main(["--check-data", *arguments]) == 2
    said_error(capsys, *fragments)


def test_flags_written_as_text_are_no_crowds(tmp_path: Path, capsys: Capture) -> None:
    root = own_classes(tmp_path / "data", ["helmet"], images=2)
    for split in ("train", "val"):
        path = root / f"annotations/instances_{split}2017.json"
        path.write_text(path.read_text().replace('"iscrowd": 0', '"iscrowd": "0"'))
    assert main(["--check-data", "--data", str(root)]) == 0
    said = capsys.readouterr().out
    assert "4 of 4 objects in use" in said and "4 numbers or flags written as text (first: iscrowd '0')" in said
