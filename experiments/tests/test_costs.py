"""experiments/costs.py: every column adds up to the whole model, and the page shows what was measured."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.benchmarks import costs_command
from experiments.benchmarks.early_exit import Exit, exit_after
from experiments.benchmarks.latency import ONNX_RUNTIME, measure_latency
from experiments.benchmarks.module_costs import OTHERS, measure, part_of, parts_of
from experiments.costs import main
from experiments.runs.host import ROOT
from experiments.tests.runs import said_error
from frameworks.config import PRESETS, preset
from frameworks.errors import UserError
from frameworks.state.module_paths import module_paths, separate_modules
from frameworks.state.parameters import model_facts

TINY = preset("tiny")


def profiles(slow: float = 1.0) -> dict[str, Any]:
    """Made-up profiles: a millisecond and a thousand operations for each module, and for what is between."""
    paths = separate_modules(TINY.model)
    seconds = dict.fromkeys([*paths, OTHERS], 0.001)
    operations = dict.fromkeys(paths, 1000) | {"": 1000 * (len(paths) + 1)}
    return {
        "torch": {"modules": seconds, "operations": operations},
        "jittor": {"modules": {path: slow * each for path, each in seconds.items()}},
    }


@pytest.mark.parametrize("name", [*PRESETS])
def test_the_modules_of_every_preset_have_a_part(name: str) -> None:
    spec = PRESETS[name]
    paths = separate_modules(spec.model)
    assert OTHERS not in map(part_of, paths)
    assert [
        path for path in module_paths(spec.model) if not any(f"{path}.".startswith(f"{own}.") for own in paths)
    ] == []
    parts = parts_of(spec, {})
    assert sum(part.parameters for part in parts) == model_facts(spec.model).parameters
    assert parts[-1].name == OTHERS and parts[-1].parameters < 0.02 * model_facts(spec.model).parameters


def test_columns_add_up_to_the_whole_model() -> None:
    found, parts = profiles(slow=3.0), parts_of(TINY, profiles(slow=3.0))
    assert sum(part.operations for part in parts) == found["torch"]["operations"][""]
    assert parts[-1].operations == 1000
    for name in found:
        assert sum(part.seconds[name] for part in parts) == pytest.approx(sum(found[name]["modules"].values()))
    layer = next(part for part in parts if part.name == "decoder: layer 0")
    assert layer.seconds["jittor"] == pytest.approx(3 * layer.seconds["torch"])


def test_hugging_face_has_a_clock_on_every_module() -> None:
    pytest.importorskip("transformers", reason="pip install 'twin-detr[huggingface]'")
    spec = preset("rtdetr_r18vd")
    spec = replace(spec, data=replace(spec.data, image_size=(128, 128), batch_size=1))
    found = measure(spec, ("hf",), device="cpu", repeats=1, say=print)["hf"]["modules"]
    assert found.keys() == {*separate_modules(spec.model), OTHERS}
    assert all(0 < seconds < sum(found.values()) / 2 for seconds in found.values())


def test_an_exit_is_the_same_model_with_fewer_layers() -> None:
    spec = exit_after(TINY, 1)
    assert spec.model.decoder.eval_idx == 0
    assert replace(spec, model=TINY.model) == TINY


def test_the_page_shows_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs_command, "measure", lambda *arguments, **options: profiles(slow=2.0))
    latency = {"torch": [0.2, 0.1, 0.3], ONNX_RUNTIME: [0.1, 0.05, 0.2]}
    monkeypatch.setattr(costs_command, "measure_latency", lambda *arguments, **options: latency)
    exits = [
        Exit("torch", 1, {"train": 0.75, "val": 0.25}, [0.03, 0.01, 0.02]),
        Exit("torch", 2, {"train": 0.8, "val": 0.5}, [0.04, 0.05, 0.03]),
    ]
    monkeypatch.setattr(costs_command, "measure_exits", lambda *arguments, **options: (TINY, exits))
    assert main(["--run", "somewhere", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "costs.md").read_text()
    whole = next(line for line in page.splitlines() if "whole model" in line)
    modules = len(separate_modules(TINY.model)) + 1
    assert f"{model_facts(TINY.model).parameters:,}" in whole
    assert f" {modules:.1f} " in whole and f" {2 * modules:.1f} " in whole and " 2.00 " in whole
    first, second = (line for line in page.splitlines() if re.match(r"\| PyTorch +\| +[12] ", line))
    assert (
        "0.7500 |" in first
        and "0.2500 |" in first
        and "0.02 s" in first
        and "0.01 s" in first
        and "50.0 %" in first
    )
    assert "0.5000" in second and "100.0 %" in second
    runtime = next(line for line in page.splitlines() if line.startswith("| ONNX Runtime"))
    assert "0.1 s" in runtime and "0.05 s" in runtime and "0.50" in runtime
    assert json.loads((tmp_path / "costs.json").read_text())["exits"][1]["ap"]["val"] == 0.5
    before = (tmp_path / "costs.png").read_bytes()
    assert main(["--out", str(tmp_path)]) == 2, "it holds a table already"
    monkeypatch.setattr(
        costs_command, "measure", lambda *arguments, **options: profiles(slow=2.0) | {"jittor": half()}
    )
    assert main(["--preset", "tiny", "--out", str(tmp_path / "other")]) == 0
    assert (tmp_path / "other/costs.png").read_bytes() != before


def test_the_published_page_is_what_its_record_gives(tmp_path: Path) -> None:
    published = ROOT / "reports/examples"
    record = json.loads((published / costs_command.RECORD).read_text())
    text = costs_command.write_page(tmp_path, preset(record["model"]), record)
    assert text == (published / costs_command.PAGE).read_text()
    assert record["environment"]["host"]["git_dirty"] is False


def half() -> dict[str, Any]:
    paths = separate_modules(TINY.model)
    return {"modules": {path: 0.001 if path.startswith("backbone") else 0.0 for path in [*paths, OTHERS]}}


def test_a_file_that_is_no_onnx_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="pip install 'twin-detr[onnx]'")
    (tmp_path / "wrong.onnx").write_bytes(b"wrong")
    for name, reason in (("gone", "no such file"), ("wrong", "cannot read")):
        with pytest.raises(UserError, match=reason):
            measure_latency(TINY, (), tmp_path / f"{name}.onnx", device="cpu", rounds=1, say=print)


def test_a_run_that_is_none_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--run", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    said_error(capsys, "no run folder")
