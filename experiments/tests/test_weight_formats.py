"""Every format in and out, bit by bit."""

import json
import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file as save_torch_safetensors

from experiments.weight_files.account import best_presets
from experiments.weight_files.computed_entries import computed_constants, is_constant
from experiments.weight_files.names import canonical_names, huggingface_state
from experiments.weight_files.readers import read_weights
from experiments.weight_files.writers import write_weights
from frameworks.arrays import Arrays, save_arrays
from frameworks.config import ExperimentSpec, preset
from frameworks.errors import UserError
from frameworks.state.initialisation import initial_weights
from frameworks.state.parameters import state_shapes
from frameworks.workers.client import REPOSITORY

TINY, V2 = preset("tiny"), preset("rtdetrv2_r18vd")
WEIGHTS = initial_weights(TINY.model, 3)
SUFFIXES = {"pth": ".pth", "safetensors": ".safetensors", "pkl": ".pkl"}


@pytest.fixture(scope="module")
def v2_weights() -> Arrays:
    return initial_weights(V2.model, 4)


def same_bits(a: Arrays, b: Arrays) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert (a[name].dtype, a[name].shape) == (b[name].dtype, b[name].shape), name
        assert a[name].tobytes() == b[name].tobytes(), name


def awkward(spec: ExperimentSpec = TINY) -> Arrays:
    """float64, -0, the smallest denormal and an array that is no contiguous block."""
    weights = initial_weights(spec.model, 5)
    names = [name for name, shape in state_shapes(spec.model).items() if len(shape) == 4]
    weights[names[0]] = weights[names[0]].astype(np.float64) / 3
    weights[names[1]].flat[0] = -0.0
    weights[names[2]].flat[0] = np.float32(1e-45)
    weights[names[3]] = np.asfortranarray(weights[names[3]])
    return weights


@pytest.mark.parametrize("second", SUFFIXES)
@pytest.mark.parametrize("first", SUFFIXES)
def test_round_trip(tmp_path: Path, first: str, second: str) -> None:
    source, weights = tmp_path / f"a{SUFFIXES[first]}", awkward()
    write_weights(source, weights, TINY, first)
    target = tmp_path / f"b{SUFFIXES[second]}"
    write_weights(target, read_weights(source).arrays, TINY, second)
    same_bits(read_weights(target).arrays, weights)
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name, target.name], "no part is left"


@pytest.mark.parametrize("middle", SUFFIXES)
def test_round_trip_through_hugging_face(tmp_path: Path, v2_weights: Arrays, middle: str) -> None:
    theirs, ours = tmp_path / "hf.safetensors", tmp_path / f"ours{SUFFIXES[middle]}"
    write_weights(theirs, v2_weights, V2, "hf")
    write_weights(ours, canonical_names(read_weights(theirs).arrays, V2.model), V2, middle)
    found = {name: array for name, array in read_weights(ours).arrays.items() if not is_constant(name)}
    same_bits(dict(sorted(found.items())), dict(sorted(v2_weights.items())))


def test_hugging_face_names_before_transformers_5(v2_weights: Arrays) -> None:
    """Files on the hub: older names, and the heads under a second name."""
    state = {}
    for name, array in huggingface_state(v2_weights, V2.model).items():
        old = name.replace("o_proj", "out_proj").replace("mlp.", "").replace("encoder.aifi.", "encoder.encoder.")
        state[old] = array
        if name.startswith("model.decoder.class_embed."):
            state[name.removeprefix("model.decoder.")] = array
    found = canonical_names(state, V2.model)
    same_bits(dict(sorted(found.items())), dict(sorted(v2_weights.items())))


def test_a_head_with_two_contents_is_found_out(v2_weights: Arrays) -> None:
    state = huggingface_state(v2_weights, V2.model)
    state["class_embed.0.bias"] = state["model.decoder.class_embed.0.bias"] + 1
    with pytest.raises(UserError, match=r"class_embed\.0\.bias .*other numbers"):
        canonical_names(state, V2.model)


def test_hugging_face_files_tell_their_version(v2_weights: Arrays) -> None:
    """Their names are the same for both; only version 2 has shares of points."""
    v1 = preset("rtdetr_r18vd")
    old = huggingface_state(initial_weights(v1.model, 1), v1.model)
    assert best_presets(old)[0] == ["rtdetr_r18vd"]
    assert best_presets(huggingface_state(v2_weights, V2.model))[0] == ["rtdetrv2_r18vd", "rtdetrv2_r18vd_dsp"]


@pytest.mark.parametrize(
    ("wrap", "form"),
    [
        (lambda state, other: state, "plain"),
        (lambda state, other: {"model": state, "epoch": 3}, "model"),
        (lambda state, other: {"ema": {"module": state, "updates": 7}, "model": other}, "ema.module"),
        (lambda state, other: {"ema": state, "model": other}, "ema"),
        (lambda state, other: {"ema": None, "model": state}, "model"),
        (lambda state, other: {"state_dict": {f"module.{name}": state[name] for name in state}}, "state_dict"),
        (lambda state, other: OrderedDict(state), "plain"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".pkl"])
def test_forms(tmp_path: Path, suffix: str, wrap: Callable[[Any, Any], Any], form: str) -> None:
    other = {name: np.zeros_like(array) for name, array in WEIGHTS.items()}
    path = tmp_path / f"a{suffix}"
    if suffix == ".pth":
        tensors = [{name: torch.from_numpy(array) for name, array in each.items()} for each in (WEIGHTS, other)]
        torch.save(wrap(*tensors), path)
    else:
        path.write_bytes(pickle.dumps(wrap(WEIGHTS, other)))
    found = read_weights(path)
    assert found.form == form
    same_bits(found.arrays, WEIGHTS)


def test_without_the_average(tmp_path: Path) -> None:
    tensor = torch.ones(2)
    torch.save({"ema": {"module": {"a": tensor * 2}}, "model": {"a": tensor}}, tmp_path / "a.pth")
    assert read_weights(tmp_path / "a.pth").arrays["a"][0] == 2
    assert read_weights(tmp_path / "a.pth", ema=False).arrays["a"][0] == 1
    torch.save({"ema": {"module": {"a": tensor}}}, tmp_path / "b.pth")
    with pytest.raises(UserError, match=r"averaged .EMA. weights alone"):
        read_weights(tmp_path / "b.pth", ema=False)


def test_the_zip_and_the_legacy_form_of_torch(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(3.0)}, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    assert read_weights(tmp_path / "a.pth").arrays["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_exactly(tmp_path: Path, dtype: torch.dtype) -> None:
    values = torch.tensor([1 / 3, -0.0, 6e-5, 3e4]).to(dtype)
    torch.save({"a": values}, tmp_path / "a.pth")
    save_torch_safetensors({"a": values}, tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        found = read_weights(tmp_path / name)
        assert found.dtypes == {str(dtype).removeprefix("torch."): 1}
        assert found.arrays["a"].dtype == np.float32
        assert np.array_equal(found.arrays["a"], values.float().numpy())


def test_official_v2_files_have_the_computed_entries(tmp_path: Path, v2_weights: Arrays) -> None:
    from frameworks.torch_rtdetr.decoder import make_anchors

    write_weights(tmp_path / "a.pth", v2_weights, V2, "pth")
    found = read_weights(tmp_path / "a.pth").arrays
    assert found.keys() - v2_weights.keys() == computed_constants(V2.model, (640, 640)).keys()
    anchors, valid = make_anchors([(80, 80), (40, 40), (20, 20)], 0.01, torch.zeros((), dtype=torch.float32))
    assert np.array_equal(found["decoder.valid_mask"], valid.numpy()) and not valid.all()
    np.testing.assert_array_max_ulp(found["decoder.anchors"][valid[..., 0]], anchors.numpy()[valid[..., 0]], 2)
    assert np.isposinf(found["decoder.anchors"][~valid[..., 0].numpy()]).all()
    scale = found["decoder.decoder.layers.1.cross_attn.num_points_scale"]
    assert scale.dtype == np.float32 and np.array_equal(scale, np.full(12, 0.25))
    uneven = computed_constants(preset("rtdetrv2_r18vd_sp1").model, (640, 640))
    assert sum(uneven["decoder.decoder.layers.0.cross_attn.num_points_scale"]) == pytest.approx(3)


def test_computed_entries_of_the_source_are_kept(tmp_path: Path, v2_weights: Arrays) -> None:
    own = v2_weights | {"decoder.anchors": np.full((1, 7, 4), 0.5, np.float32)}
    write_weights(tmp_path / "a.pth", own, V2, "pth")
    assert np.array_equal(read_weights(tmp_path / "a.pth").arrays["decoder.anchors"], own["decoder.anchors"])


def test_v1_and_parts_get_no_computed_entries(tmp_path: Path, v2_weights: Arrays) -> None:
    write_weights(tmp_path / "v1.pth", WEIGHTS, TINY, "pth")
    write_weights(tmp_path / "part.pth", v2_weights, V2, "pth", complete=False)
    assert not any(map(is_constant, read_weights(tmp_path / "v1.pth").arrays))
    assert not any(map(is_constant, read_weights(tmp_path / "part.pth").arrays))


def test_the_official_code_finds_model_and_average(tmp_path: Path) -> None:
    write_weights(tmp_path / "a.pth", WEIGHTS, TINY, "pth")
    payload = torch.load(tmp_path / "a.pth", weights_only=True)
    assert payload["model"].keys() == payload["ema"]["module"].keys() == WEIGHTS.keys()
    stored_once = sum(array.nbytes for array in WEIGHTS.values()) * 2
    assert (tmp_path / "a.pth").stat().st_size < stored_once


def test_this_module_reads_what_numpy_2_writes(tmp_path: Path) -> None:
    """The same functions under the names that NumPy 2 gave them, in two protocols."""
    for protocol in (2, 4, 5):
        data = pickle.dumps({"a": np.arange(6.0).reshape(2, 3), "b": np.float32(2)}, protocol)
        if protocol == 2:  # names end with a line there, so their length may change
            data = data.replace(b"cnumpy.core.multiarray\n", b"cnumpy._core.multiarray\n")
        (tmp_path / "a.pkl").write_bytes(data)
        found = read_weights(tmp_path / "a.pkl").arrays
        assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]] and found["b"] == 2


JITTOR = """
import sys, json, numpy as np
import frameworks
frameworks.load("jittor")
import jittor as jt
folder, ours = sys.argv[1], sys.argv[2]
theirs = jt.load(ours)
class Model(jt.nn.Module):
    def __init__(self):
        self.linear, self.norm = jt.nn.Linear(3, 2), jt.nn.BatchNorm2d(2)
model = Model()
model.linear.weight.update(jt.array(theirs["linear.weight"]))
model.save(folder + "/net.pkl")
model.save(folder + "/net.pth")
jt.save({"model": model.state_dict()}, folder + "/checkpoint.pkl")
np.save(folder + "/weight.npy", model.linear.weight.numpy())
"""


def test_jittor_reads_ours_and_we_read_jittors(tmp_path: Path) -> None:
    weight = np.arange(6, dtype=np.float32).reshape(2, 3) / 7
    write_weights(tmp_path / "ours.pkl", {"linear.weight": weight}, TINY, "pkl")
    command = [sys.executable, "-c", JITTOR, str(tmp_path), str(tmp_path / "ours.pkl")]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "weight.npy").tobytes() == weight.tobytes()
    for name, form in (("net.pkl", "plain"), ("net.pth", "plain"), ("checkpoint.pkl", "model")):
        found = read_weights(tmp_path / name)
        assert found.form == form
        assert found.arrays["linear.weight"].tobytes() == weight.tobytes()
        assert found.arrays["norm.running_var"].tolist() == [1, 1]


def test_reading_never_imports_jittor(tmp_path: Path) -> None:
    save_arrays(tmp_path / "a.safetensors", WEIGHTS)
    code = (
        "import sys, json; from pathlib import Path; from experiments.weight_files.readers import read_weights;"
        "read_weights(Path(sys.argv[1])); print(json.dumps([n for n in ('jittor', 'torch') if n in sys.modules]))"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", code, str(tmp_path / "a.safetensors")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
