"""The verdict's three lines: certificate, differences beside the control's, and what was trained."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frameworks.shared.tolerances import zoo_limit
from reports.build import build_report
from reports.run.differences import compare_controls, compare_run
from reports.run.parting import SMALLEST, stages
from reports.run.records import read_run
from reports.tests.run_folder import total, write_run

pytestmark = pytest.mark.usefixtures("blank_figures")
TENSORS = (
    ("forward", "decoder", "forward/pred_logits"),
    ("losses", "criterion", "loss/loss_vfl"),
    ("matching", "criterion", "match/0/0/queries"),
    ("backward", "encoder.input_proj.0", "gradient/encoder.input_proj.0.conv.weight"),
    ("backward", "decoder.dec_bbox_head.0", "gradient/decoder.dec_bbox_head.0.layers.0.weight"),
    ("update", "encoder.input_proj.0", "update/encoder.input_proj.0.conv.weight"),
)


def line(text: str, title: str) -> str:
    """The line of the verdict with this title."""
    (found,) = re.findall(rf"^- \*\*{title}\.\*\* (.*)$", text, re.MULTILINE)
    return found


def section(text: str, title: str) -> str:
    """What stands below a heading of the second level."""
    (found,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found


FUNCTION, TRAINING, DETECTION = "Is it the same function?", "Does it train the same?", "How well does it detect?"


def certify(folder: Path, *, wrong: str = "", images: int = 4) -> None:
    """Write a certificate in which the tensor ``wrong`` has an error of 0.01."""
    common = {"preset": "rtdetr_r18vd", "case": "first batch", "device": "cpu"}
    items: list[dict[str, Any]] = []
    for stage, module, tensor in TENSORS:
        error = 0.01 if tensor == wrong else 0.0 if stage == "matching" else 2e-13
        limit = zoo_limit(stage, tensor)
        found = {"stage": stage, "module": module, "tensor": tensor, "error": error, "limit": limit}
        judged = {"dtype": "float64", "framework": "jittor", "judge": "twin", "passed": error <= limit}
        items.append(common | found | judged)
        for framework, factor in (("torch", 1.0), ("jittor", 2.0)):
            single = {"dtype": "float32", "framework": framework, "judge": "float64", "passed": None, "limit": None}
            size = 0.03 if module == "decoder.dec_bbox_head.0" else 1e-6
            items.append(common | found | single | {"error": factor * size})
    end = {"outcome": "failed" if wrong else "passed", "seconds": 30.0, "images": images, "of": 4}
    items.append({"certificate": end})
    (folder / "certificate.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))


def bootstrap(folder: Path, **differences: tuple[float, float, float]) -> None:
    """Write bootstrap.jsonl: difference, low, high of each entry on both splits."""
    items = [
        {"split": split, "reference": "torch", "other": other, "difference": d, "low": low, "high": high}
        | {"images": 50, "resamples": 1000, "seed": 0, "level": 0.95}
        for split in ("train", "val")
        for other, (d, low, high) in differences.items()
    ]
    (folder / "bootstrap.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """A run with a certificate, a control, APs that mean something, and their intervals."""
    folder = write_run(tmp_path / "run", ap=0.05, controls=1)
    certify(folder)
    bootstrap(folder, jittor=(0.01, -0.02, 0.04), control1=(-0.015, -0.04, 0.01))
    return folder


def test_the_first_line_is_the_certificate(judged: Path) -> None:
    text = build_report(judged).read_text()
    short = line(text, "Same function")
    assert short.startswith("Jittor computes the same function as PyTorch: in float64, all 6 tensors of the first")
    assert "the worst error is 0.002 of its limit" in short and len(short) < 250
    assert re.search(
        r"^\| \[worst float64 error ÷ its limit, first step\]\(#is-it-the-same-function\) +\|[ |]+ 0.002 \|",
        text,
        re.MULTILINE,
    )
    function = section(text, FUNCTION)
    assert "Jittor computes the same function as PyTorch: in float64" in function
    assert (
        "on the first batch, 1 prediction, 1 loss term, 2 gradients, 1 updated tensor and the matching" in function
    )
    assert "the worst error is 2.0e-13 (`forward/pred_logits`), its limit 1.0e-10" in function
    assert "PyTorch's losses are 1.0e-06 off" in function and "at most 3 % (decoder.dec_bbox_head)" in function
    assert "Jittor's losses are 2.0e-06 off" in function and "at most 6 % (decoder.dec_bbox_head)" in function
    assert "![Error of every module at the first step, divided by its limit](report_certificate.png)" in text
    assert re.search(r"^\| `decoder.dec_bbox_head` +\| +3 % \| +6 % \|$", text, re.MULTILINE)
    assert "The first step:" not in text
    certify(judged, images=2)
    assert "on 2 of the 4 images of the first batch" in build_report(judged).read_text()


@pytest.mark.parametrize("wrong", ["loss/loss_vfl", "gradient/encoder.input_proj.0.conv.weight"])
def test_a_failed_certificate_is_said_in_bold(judged: Path, wrong: str) -> None:
    certify(judged, wrong=wrong)
    function = line(build_report(judged).read_text(), "Same function")
    assert function.startswith("**Jittor does not compute the same function as PyTorch**")
    assert f"1 of 6 tensors differ; the first is `{wrong}`" in function and "error 1.0e-02" in function


def test_a_run_that_a_failed_certificate_stopped_has_a_report(judged: Path) -> None:
    certify(judged, wrong="loss/loss_vfl")
    for name in ("torch", "jittor", "control1"):
        _ = [path.unlink() for path in (judged / name).iterdir()]
    (judged / "complete.json").unlink()
    text = build_report(judged).read_text()
    assert "**Jittor does not compute the same function" in text and "No step was recorded." in text


def geometric(name: str, numbers: range) -> float:
    relative = [abs(total(name, n) - total("torch", n)) / total("torch", n) for n in numbers]
    return float(np.exp(np.mean(np.log(np.maximum(relative, SMALLEST)))))


def test_the_second_line_divides_by_the_control(judged: Path) -> None:
    run = read_run(judged)
    found = stages(compare_run(run)[0], compare_controls(run))
    parts = (range(1, 10), range(10, 13), range(52, 65))
    for stage, numbers in zip(found, parts, strict=True):
        assert stage.difference == pytest.approx(geometric("jittor", numbers))
        assert stage.ratio == pytest.approx(geometric("jittor", numbers) / geometric("control1", numbers))
    text = build_report(judged).read_text()
    short = line(text, "Same training")
    assert f"In the last epoch Jittor's loss is {found[2].ratio:#.2g} times as far from PyTorch's as" in short
    assert "rounding explains up to 5 times" in short
    training = section(text, TRAINING)
    assert f"Jittor parts from PyTorch {found[0].ratio:#.2g} times as far as PyTorch from itself" in training
    assert f"and {found[2].ratio:#.2g} times in the last epoch." in training
    assert "more than rounding" not in training and "is first exceeded" not in training


def test_a_framework_that_parts_further_than_a_control_is_said_in_bold(judged: Path) -> None:
    path = judged / "jittor" / "steps.jsonl"
    items = [json.loads(each) for each in path.read_text().splitlines()]
    for item in items[1:]:
        item["total"] *= 4
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    training = line(build_report(judged).read_text(), "Same training")
    assert training.count("**") == 2 and "**That is more than rounding explains in the last epoch.**" in training


def test_before_rounding_has_grown_nothing_is_judged(judged: Path) -> None:
    (judged / "control1" / "steps.jsonl").write_text((judged / "torch" / "steps.jsonl").read_text())
    text = build_report(judged).read_text()
    assert "that early such a ratio judges nothing." in line(text, "Same training")
    training = section(text, TRAINING)
    assert "more than rounding" not in training
    assert "Rounding has not grown to 0.1 % of the loss here" in training


def test_a_control_that_equals_the_framework_gives_one(judged: Path) -> None:
    (judged / "control1" / "steps.jsonl").write_text((judged / "jittor" / "steps.jsonl").read_text())
    text = build_report(judged).read_text()
    assert "Jittor's loss is 1.0 times as far from PyTorch's" in line(text, "Same training")
    training = section(text, TRAINING)
    assert (
        "Jittor parts from PyTorch 1.0 times as far" in training and "and 1.0 times in the last epoch" in training
    )


def test_two_identical_trainings_are_no_further_apart_than_a_control(judged: Path) -> None:
    for name in ("jittor", "control1"):
        (judged / name / "steps.jsonl").write_text((judged / "torch" / "steps.jsonl").read_text())
    assert "Jittor parts from PyTorch 1.0 times as far" in section(build_report(judged).read_text(), TRAINING)


@pytest.mark.parametrize(
    ("jittor", "control", "said"),
    [
        ((0.01, -0.02, 0.04), (0.001, -0.01, 0.01), "these images cannot tell it from 0"),
        ((0.02, 0.01, 0.03), (-0.03, -0.05, 0.01), "no more than one framework differs from itself"),
        (
            (0.06, 0.03, 0.09),
            (-0.03, -0.05, -0.01),
            "differs from itself, too; this is 2.0 times as much",
        ),
        ((0.06, 0.03, 0.09), (0.01, -0.01, 0.02), "**more than one framework differs from itself**"),
    ],
)
def test_a_difference_of_ap_is_judged_beside_the_control(
    judged: Path, jittor: tuple[float, float, float], control: tuple[float, float, float], said: str
) -> None:
    bootstrap(judged, jittor=jittor, control1=control)
    text = build_report(judged).read_text()
    short, training = line(text, "Same training"), section(text, DETECTION)
    d, low, high = jittor
    assert f"AP on train differs by {d:+.4f}, the control's by {control[0]:+.4f}: " in short and said in short
    assert f"on train by {d:+.4f} ({low:+.4f} to {high:+.4f}), the control by {control[0]:+.4f}" in training
    assert said in training and "outside" not in training
    assert re.search(
        rf"^\| control 1 − PyTorch +\| val +\| +{re.escape(f'{control[0]:+.4f}')} \|", text, re.MULTILINE
    )


def test_the_third_line_says_what_was_trained_and_how_well(judged: Path) -> None:
    text = build_report(judged).read_text()
    trained = line(text, "What was trained")
    assert trained.startswith("PyTorch and Jittor each trained `rtdetr_r18vd`")
    assert "on 50 training images for 5 epochs (batch 4, 320 px, cpu)" in trained
    found = section(text, DETECTION)
    assert "AP of PyTorch and Jittor: 0.2500 and 0.2550 on train, 0.1250 and 0.1275 on val." in found


def test_an_interrupted_control_leaves_the_run_incomplete(judged: Path) -> None:
    (judged / "complete.json").write_text(json.dumps({"frameworks": ["torch", "jittor"]}))
    path = judged / "control1" / "epochs.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    assert "control 1 recorded 2 of 5 epochs" in build_report(judged).read_text()
