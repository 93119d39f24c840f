"""experiments/weights.py: what it prints, writes, refuses; each error one line, exit status 2."""

import contextlib
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.tests.runs import said_error
from experiments.weight_files import verify
from experiments.weight_files.account import group_of
from experiments.weight_files.readers import read_weights
from experiments.weight_files.verify import differences
from experiments.weight_files.writers import write_weights
from experiments.weights import main
from frameworks.arrays import Arrays
from frameworks.config import preset
from frameworks.protocol import Case
from frameworks.state.initialisation import initial_weights

Capture = pytest.CaptureFixture[str]
TINY = preset("tiny")
INJECT = ("inject-backbone", "WHOLE", "--preset", "tiny", "--out", "OUT.pth")
NAME = "encoder.fpn_blocks.0.conv1.conv.weight"


def weights(seed: int = 3) -> Arrays:
    return initial_weights(TINY.model, seed)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "whole.safetensors"
    write_weights(path, weights(), TINY, "safetensors")
    return path


def written(path: Path, arrays: Arrays) -> Path:
    write_weights(path, arrays, TINY, "safetensors")
    return path


def test_inspect(whole: Path, capsys: Capture) -> None:
    assert main(["inspect", str(whole)]) == 0
    said = capsys.readouterr().out
    assert "safetensors, plain" in said
    assert "tensors            371, 160,675 numbers\ndtypes             float32 324, int64 47\n" in said
    assert "0 numbers in 0 tensors\nbest preset        tiny (exact)\nmatched            371\n" in said


def test_inspect_tells_what_is_wrong(tmp_path: Path, capsys: Capture) -> None:
    arrays = weights()
    arrays[NAME] = arrays[NAME][:-1]
    arrays["encoder.fpn_blocks.0.conv2.conv.weight"].flat[:3] = (np.nan, np.inf, -np.inf)
    arrays["head.weight"] = arrays.pop("decoder.enc_score_head.weight")
    assert main(["inspect", str(written(tmp_path / "a.safetensors", arrays))]) == 0
    said = capsys.readouterr().out
    assert "3 numbers in 1 tensors" in said and "tiny (not exact)" in said
    assert f"  {NAME} is [15, 64, 1, 1], the preset has [16, 64, 1, 1]" in said
    assert "  decoder.enc_score_head.weight" in said and "  head.weight" in said


def test_inspect_of_something_else(tmp_path: Path, capsys: Capture) -> None:
    path = written(tmp_path / "a.safetensors", {"transformer.wte": np.ones((2, 2), np.float32)})
    assert main(["inspect", str(path)]) == 0
    assert "none: its names are those of no preset" in capsys.readouterr().out


def test_convert_guesses_the_preset(whole: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["convert", str(whole), str(tmp_path / "a.pth")]) == 0
    assert "preset             tiny" in capsys.readouterr().out
    assert main(["convert", str(tmp_path / "a.pth"), str(tmp_path / "a.bin"), "--to", "pkl"]) == 0
    assert main(["verify", str(tmp_path / "a.bin"), "--against", str(whole)]) == 0


def test_a_preset_that_cannot_be_guessed_is_asked_for(tmp_path: Path, capsys: Capture) -> None:
    spec = preset("rtdetrv2_r18vd")
    write_weights(tmp_path / "a.safetensors", initial_weights(spec.model, 0), spec, "safetensors")
    command = ["convert", str(tmp_path / "a.safetensors"), str(tmp_path / "a.pkl")]
    assert main(command) == 2
    said_error(capsys, "fits rtdetrv2_r18vd and rtdetrv2_r18vd_dsp alike", "--preset")
    assert main([*command, "--preset", "rtdetrv2_r18vd_dsp"]) == 0
    capsys.readouterr()
    assert main(["verify", str(tmp_path / "a.pkl"), "--preset", "rtdetr_r18vd"]) == 2
    said_error(capsys, "does not fit rtdetr_r18vd", "it looks like rtdetrv2_r18vd or rtdetrv2_r18vd_dsp")


def test_convert_is_strict(tmp_path: Path, capsys: Capture) -> None:
    arrays = weights()
    del arrays[NAME]
    arrays["extra.weight"] = np.ones(2, np.float32)
    arrays["decoder.enc_score_head.bias"] = np.zeros(7, np.float32)
    path, out = written(tmp_path / "a.safetensors", arrays), tmp_path / "b.pth"
    assert main(["convert", str(path), str(out), "--preset", "tiny"]) == 2
    fragments = (f"1 missing (first {NAME})", "1 shape-mismatched", "[7]", "1 unused (first extra.weight)")
    said_error(capsys, *fragments, "it looks like tiny, not exactly", "--partial")
    assert not out.exists()
    assert main(["convert", str(path), str(out), "--preset", "tiny", "--partial"]) == 0
    said = capsys.readouterr().out
    for title, count in (("matched", 369), ("missing", 1), ("shape-mismatched", 1), ("unused", 1)):
        assert f"{title:<18} {count}" in said
    assert read_weights(out).arrays.keys() == weights().keys() - {NAME, "decoder.enc_score_head.bias"}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".pkl"])
def test_nan_is_refused(tmp_path: Path, capsys: Capture, suffix: str) -> None:
    arrays = weights()
    arrays[NAME].flat[0] = np.nan
    path = written(tmp_path / "a.safetensors", arrays)
    assert main(["convert", str(path), str(tmp_path / f"b{suffix}")]) == 2
    said_error(capsys, "1 tensors hold NaN", NAME)
    assert main(["verify", str(path)]) == 2
    said_error(capsys, "1 tensors hold NaN", NAME)


def test_counters_are_no_weights(tmp_path: Path, capsys: Capture) -> None:
    """Jittor's norms have none; its scalars are arrays of one 32-bit integer."""
    arrays = {name: array for name, array in weights().items() if "conv1_1.norm.num_batches" not in name}
    own = "backbone.conv1.conv1_2.norm.num_batches_tracked"
    arrays[own] = np.array([7], np.int32)
    assert main(["convert", str(written(tmp_path / "a.safetensors", arrays)), str(tmp_path / "b.pth")]) == 0
    assert "counters           1" in capsys.readouterr().out
    found = read_weights(tmp_path / "b.pth").arrays
    assert found.keys() == weights().keys()
    assert (found[own].dtype, found[own].shape, int(found[own])) == (np.int64, (), 7)


def test_integers_are_no_weights(tmp_path: Path, capsys: Capture) -> None:
    arrays = weights()
    arrays[NAME] = arrays[NAME].astype(np.int8)
    assert main(["verify", str(written(tmp_path / "a.safetensors", arrays)), "--preset", "tiny"]) == 2
    said_error(capsys, NAME, "int8")


def test_nothing_is_overwritten(whole: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "b.pth"
    out.write_text("precious")
    assert main(["convert", str(whole), str(out)]) == 2
    said_error(capsys, "exists", "--force")
    assert out.read_text() == "precious"
    assert main(["convert", str(whole), str(out), "--force"]) == 0
    assert main(["convert", str(out), str(out), "--force"]) == 0, (
        "a mapped file can be replaced by its own conversion"
    )
    assert main(["verify", str(out), "--against", str(whole)]) == 0


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ([], ["COMMAND", "--help"]),
        (["convert", "WHOLE", "OUT.xyz"], [".pth", "--to"]),
        (["convert", "WHOLE", "nowhere/OUT.pth"], ["no such folder"]),
        (["convert", "WHOLE", "."], ["is a folder"]),
        (["convert", "WHOLE", "OUT.pth", "--to", "onnx"], ["--to", "onnx"]),
        (["convert", "WHOLE", "OUT.pth", "--preset", "tinny"], ["Did you mean 'tiny'?"]),
        (["convert", "WHOLE", "OUT.safetensors", "--to", "hf"], ["Hugging Face", "cannot represent this model"]),
        (["convert", "missing.pth", "OUT.pth"], ["no such file: missing.pth"]),
        (["inspect", "."], ["is a folder"]),
        (["inspect", "official"], ["--preset"]),
        (["convert", "official", "OUT.pth", "--preset", "tiny"], ["tiny has no published", "rtdetr_r18vd"]),
        (["verify", "WHOLE", "--against", "missing.pth"], ["no such file"]),
        ([*INJECT], ["--into", "--tuning"]),
        ([*INJECT, "--tuning", "--stages", "4"], ["'4'"]),
        ([*INJECT, "--tuning", "--map", "x.json"], ["x.json", "not a name map"]),
        ([*INJECT, "--tuning", "--prefix", "q."], ["nothing in it fits"]),
        ([*INJECT, "--tuning", "--to", "hf"], ["whole models"]),
    ],
)
def test_arguments(
    whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, arguments: list[str], fragments: list[str]
) -> None:
    monkeypatch.chdir(whole.parent)
    assert main([argument.replace("WHOLE", str(whole)) for argument in arguments]) == 2
    said_error(capsys, *fragments)
    assert [path.name for path in whole.parent.iterdir()] == [whole.name]


def test_trust_is_asked_for(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"model": weights(), "where": tmp_path}))
    assert main(["convert", str(path), str(tmp_path / "b.pth")]) == 2
    said_error(capsys, "refused", "pathlib.PosixPath", "--trust")
    assert main(["convert", str(path), str(tmp_path / "b.pth"), "--trust"]) == 0


def test_against(whole: Path, tmp_path: Path, capsys: Capture) -> None:
    arrays = weights()
    arrays[NAME] = arrays[NAME].copy()
    arrays[NAME].flat[5] += 0.25
    arrays["encoder.fpn_blocks.0.conv2.norm.bias"].flat[0] = -0.0  # equal, with other bits
    assert main(["verify", str(whole), "--against", str(written(tmp_path / "b.safetensors", arrays))]) == 2
    captured = capsys.readouterr()
    row = next(line for line in captured.out.splitlines() if line.startswith("encoder.fpn_blocks.0"))
    assert row.split()[1:] == ["30", "28", "0.25", NAME] or row.split()[3:] == ["0.25", NAME], row
    assert "differ in 2 tensors" in captured.err


def test_groups_and_differences() -> None:
    assert group_of("backbone.res_layers.0.blocks.0.short.conv.weight") == "backbone.res_layers.0"
    assert group_of("decoder.enc_score_head.bias") == "decoder.enc_score_head"
    a = {"m.x.w": np.array([1.0, np.nan]), "m.x.v": np.ones(2), "m.y.w": np.ones(2)}
    same, other = differences(a, a | {"m.y.w": np.array([1.0, np.nan])})
    assert (same.identical, same.worst) == (2, 0.0), "the same bits are the same, NaN or not"
    assert other.identical == 0 and np.isnan(other.worst)
    assert np.isnan(differences(a, {})[0].worst), "what is not there differs"


def test_the_twins_agree_on_converted_weights(whole: Path, capsys: Capture) -> None:
    assert main(["verify", str(whole), "--forward"]) == 0
    assert "the twins agree on one 64 px image" in capsys.readouterr().out


class Fixed:
    """A framework whose predictions are constant, off by ``error``."""

    def __init__(self, error: float) -> None:
        self.error = error

    def trace(self, case: Case, weights: Arrays, inputs: Arrays, *, device: str, dtype: str) -> Arrays:
        predictions = np.full((1, 20, 4), 2.0) * (1 + self.error)
        return {"forward/pred_logits": predictions, "forward/pred_boxes": predictions}


def test_every_candidate_is_compared_with_the_reference(
    whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    errors = {"torch": 0.0, "jittor": 1e-12, "third": 1e-3}
    monkeypatch.setattr(verify, "candidates", lambda: ("jittor", "third"))
    monkeypatch.setattr(verify, "open_framework", lambda name: contextlib.nullcontext(Fixed(errors[name])))
    assert main(["verify", str(whole), "--forward"]) == 2
    captured = capsys.readouterr()
    assert "torch and jittor agree on one 64 px image: 1.00e-12 relative" in captured.out
    assert "torch and third differ by 1.00e-03 on one 64 px image" in captured.err


# --- specs of one's own, parts, and other classes ---


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """tiny for 12 classes, as a YAML file."""
    path = tmp_path / "mine.yml"
    path.write_text("inherit: tiny\nname: mine\nmodel: {num_classes: 12}\n", encoding="utf-8")
    return path


def of_mine(seed: int = 4) -> Arrays:
    return initial_weights(replace(TINY.model, num_classes=12), seed)


def test_every_command_takes_a_spec_from_a_file(mine: Path, tmp_path: Path, capsys: Capture) -> None:
    path, out = written(tmp_path / "a.safetensors", of_mine()), tmp_path / "b.pkl"
    given = ["--preset", str(mine)]
    assert main(["inspect", str(path), *given]) == 0
    assert "best preset        mine (exact)\nmatched            371\n" in capsys.readouterr().out
    assert main(["convert", str(path), str(out), *given]) == 0
    assert main(["verify", str(out), *given, "--against", str(path)]) == 0
    assert "a whole mine" in capsys.readouterr().out
    whole = written(tmp_path / "c.safetensors", weights(9))
    command = ["inject-backbone", str(whole), *given, "--into", str(path), "--out", str(tmp_path / "d.pth")]
    assert main(command) == 0
    found = read_weights(tmp_path / "d.pth").arrays
    assert np.array_equal(found["decoder.enc_score_head.bias"], of_mine()["decoder.enc_score_head.bias"])
    name = "backbone.conv1.conv1_1.conv.weight"
    assert np.array_equal(found[name], weights(9)[name])


def test_another_number_of_classes_is_said(mine: Path, tmp_path: Path, capsys: Capture) -> None:
    path = written(tmp_path / "a.safetensors", weights())
    command = ["convert", str(path), str(tmp_path / "b.pth"), "--preset", str(mine)]
    assert main(command) == 2
    said_error(capsys, "does not fit mine", "it has 80 classes, the model 12: 7 tensors of class heads do not fit")
    assert main([*command, "--partial"]) == 0
    said = capsys.readouterr().out
    assert "NOTE               it has 80 classes" in said and "shape-mismatched   7" in said


def test_a_part_alone_is_recognised_and_what_is_left_out_is_said(tmp_path: Path, capsys: Capture) -> None:
    """The encoder's own state, as distillation writes it: no name tells the part."""
    encoder = {name: array for name, array in weights().items() if name.startswith("encoder.")}
    path = written(tmp_path / "a.safetensors", {name.removeprefix("encoder."): encoder[name] for name in encoder})
    command = ["convert", str(path), str(tmp_path / "b.pth"), "--preset", "tiny"]
    assert main(command) == 2
    said_error(capsys, f"{len(encoder)} matched", "NOTHING of the backbone fits", "NOTHING of the decoder fits")
    assert main([*command, "--partial"]) == 2
    said_error(capsys, "NOTHING of the backbone fits tiny", "--without-backbone")
    assert not (tmp_path / "b.pth").exists()
    assert main([*command, "--partial", "--without-backbone"]) == 0
    assert ", WITHOUT its backbone, WITHOUT its decoder)" in capsys.readouterr().out
    found = read_weights(tmp_path / "b.pth").arrays
    assert found.keys() == encoder.keys() and all(np.array_equal(found[name], encoder[name]) for name in found)
