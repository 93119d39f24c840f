"""experiments/run.py --weights: both frameworks start from the file, and the record says so."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.tests.data_sets import shapes
from experiments.tests.runs import TORCH, counting, meta, run, said_error
from experiments.tests.steppers import CountingStepper
from experiments.weight_files.account import fit
from experiments.weight_files.initial import said, starting_weights
from experiments.weight_files.writers import write_weights
from frameworks.arrays import Arrays, load_arrays
from frameworks.config import preset
from frameworks.errors import UserError
from frameworks.files import file_hash
from frameworks.state.initialisation import initial_weights
from frameworks.state.parameters import state_shapes

Capture = pytest.CaptureFixture[str]
TINY = preset("tiny")
NAME = "decoder.enc_score_head.weight"
RANDOM = "random initial weights"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes(tmp_path_factory.mktemp("data"), train=5, val=3)


def file_of(path: Path, arrays: Arrays, suffix: str = "pth") -> Path:
    write_weights(path, arrays, TINY, suffix)
    return path


def test_the_run_starts_from_the_file(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counting(monkeypatch, torch=CountingStepper(), jittor=CountingStepper())
    weights = initial_weights(TINY.model, 9)
    weights[NAME] = weights[NAME].astype(np.float64)  # the twins train in float32
    path, out = file_of(tmp_path / "a.pth", weights), tmp_path / "run"
    assert run(root, out, "--weights", str(path)) == 0
    found = load_arrays(out / "initial.safetensors")
    assert found[NAME].dtype == np.float32
    assert all(np.array_equal(found[name], array.astype(found[name].dtype)) for name, array in weights.items())
    record = meta(out)["weights"]
    assert (record["path"], record["sha256"]) == (str(path), file_hash(path))
    assert (record["matched"], record["drawn_from_seed"], record["form"]) == (371, 0, "torch, ema.module")
    said = meta(out)["deviations"]
    assert not any(RANDOM in line for line in said) and any(str(path) in line for line in said)


def test_a_spec_of_ones_own_takes_weights_of_its_own(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """The spec decides what fits: no preset has the name, and the preset it inherits from has other weights."""
    counting(monkeypatch, torch=CountingStepper(), jittor=CountingStepper())
    decoder = replace(TINY.model.decoder, num_layers=1)
    own = replace(TINY, name="mine", model=replace(TINY.model, decoder=decoder))
    mine = tmp_path / "mine.yml"
    mine.write_text("inherit: tiny\nname: mine\nmodel:\n  decoder: {num_layers: 1}\n", encoding="utf-8")
    weights = initial_weights(own.model, 9)
    path = file_of(tmp_path / "a.safetensors", weights, "safetensors")
    assert run(root, tmp_path / "run", "--preset", str(mine), "--weights", str(path)) == 0
    found = load_arrays(tmp_path / "run" / "initial.safetensors")
    assert found.keys() == weights.keys() and np.array_equal(found[NAME], weights[NAME])
    whole = file_of(tmp_path / "b.safetensors", initial_weights(TINY.model, 9), "safetensors")
    assert run(root, tmp_path / "other", "--preset", str(mine), "--weights", str(whole)) == 2
    said_error(capsys, "does not fit mine", "looks like tiny")


def test_without_a_file_they_are_random(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counting(monkeypatch, torch=CountingStepper(), jittor=CountingStepper())
    assert run(root, tmp_path / "run") == 0
    assert meta(tmp_path / "run")["weights"] is None
    assert any(RANDOM in line for line in meta(tmp_path / "run")["deviations"])


def test_partial_weights(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    counting(monkeypatch, torch=CountingStepper(), jittor=CountingStepper())
    given = initial_weights(TINY.model, 9)
    given[NAME] = given[NAME][:7]
    path = file_of(tmp_path / "a.safetensors", given, "safetensors")
    assert run(root, tmp_path / "run", "--weights", str(path)) == 2
    said_error(capsys, NAME, "[7, 32]", "--partial-weights")
    assert not (tmp_path / "run").exists()
    assert run(root, tmp_path / "run", "--weights", str(path), "--partial-weights", "--seed", "4") == 0
    found, drawn = load_arrays(tmp_path / "run" / "initial.safetensors"), initial_weights(TINY.model, 4)
    assert np.array_equal(found[NAME], drawn[NAME])
    assert all(np.array_equal(found[name], array) for name, array in given.items() if name != NAME)
    assert meta(tmp_path / "run")["weights"]["drawn_from_seed"] == 1


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--weights", "nowhere.pth"], ["no such file: nowhere.pth"]),
        (["--weights", "official"], ["tiny has no published"]),
        (["--partial-weights"], ["--weights FILE"]),
    ],
)
def test_arguments(root: Path, tmp_path: Path, capsys: Capture, arguments: list[str], fragments: list[str]) -> None:
    assert run(root, tmp_path / "run", *arguments) == 2
    said_error(capsys, *fragments)
    assert not (tmp_path / "run").exists()


def test_bad_weights_leave_nothing(root: Path, tmp_path: Path, capsys: Capture) -> None:
    weights = initial_weights(TINY.model, 9)
    weights[NAME].flat[0] = np.inf
    assert run(root, tmp_path / "run", "--weights", str(file_of(tmp_path / "a.pkl", weights, "pkl"))) == 2
    said_error(capsys, "NaN or infinite", NAME)
    assert not (tmp_path / "run").exists()


def test_a_real_step_from_a_file(root: Path, tmp_path: Path, one_thread: None) -> None:
    path = file_of(tmp_path / "a.pkl", initial_weights(TINY.model, 9), "pkl")
    assert run(root, tmp_path / "run", *TORCH, "--weights", str(path), epochs=1) == 0


def test_other_classes_are_drawn_from_the_seed(tmp_path: Path) -> None:
    own = replace(TINY, name="mine", model=replace(TINY.model, num_classes=12))
    path = file_of(tmp_path / "a.safetensors", initial_weights(TINY.model, 9), "safetensors")
    with pytest.raises(UserError, match=r"it has 80 classes, the model 12.*; --partial-weights takes what fits"):
        starting_weights(str(path), own, seed=4, partial=False)
    weights, record = starting_weights(str(path), own, seed=4, partial=True)
    drawn, given = initial_weights(own.model, 4), initial_weights(TINY.model, 9)
    heads = {name for name in weights if re.search(r"score_head|denoising_class_embed", name)}
    assert set(record["unmatched"]) == heads and record["drawn_from_seed"] == len(heads) == 7
    assert all(np.array_equal(weights[name], (drawn if name in heads else given)[name]) for name in weights)
    text = "\n".join(said(record))
    assert "it has 80 classes, the model 12: 7 tensors of class heads" in text
    assert "unmatched: of another shape, drawn from the seed: 7 (decoder.denoising_class_embed 1, " in text


def test_distilled_names_into_hgnetv2(tmp_path: Path) -> None:
    """The states of backbone and encoder in one, without the names of the parts; shapes alone need no memory."""
    spec = preset("rtdetrv2_hgnetv2_l")
    file = {
        name.partition(".")[2]: np.broadcast_to(np.float32(1), shape)
        for name, shape in state_shapes(spec.model).items()
        if name.startswith(("backbone.", "encoder."))
    }
    assert "stem.stem1.conv.weight" in file and "encoder.0.layers.0.linear1.weight" in file
    account = fit(file | {"fc.weight": np.ones(3, np.float32)}, spec.model)[1]
    assert {name.partition(".")[0] for name in account.missing} == {"decoder"} == set(account.absent_parts())
    assert not account.mismatched and account.unused == ["fc.weight"] and len(account.matched) == len(file)


def test_a_backbone_that_is_left_out_is_said_loudly(tmp_path: Path) -> None:
    rest = {
        name: array for name, array in initial_weights(TINY.model, 9).items() if not name.startswith("backbone.")
    }
    path = file_of(tmp_path / "a.safetensors", rest, "safetensors")
    with pytest.raises(UserError, match=r"NOTHING of the backbone fits tiny.*--without-backbone"):
        starting_weights(str(path), TINY, seed=0, partial=True)
    _, record = starting_weights(str(path), TINY, seed=0, partial=True, without_backbone=True)
    text = "\n".join(said(record))
    assert "NOTHING of the backbone fits" in text and "drawn from the seed: 85 (backbone.conv1 15," in text
    assert "backbone.conv1.conv1_1.conv.weight" in record["missed"]
