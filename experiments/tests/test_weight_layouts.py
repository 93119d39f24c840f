"""Checkpoints as other projects write them: whole models, wrappers around names, places of the state."""

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.tests.runs import said_error
from experiments.weight_files.account import fit
from experiments.weight_files.inject import read_backbone
from experiments.weight_files.names import huggingface_state
from experiments.weight_files.readers import read_weights
from experiments.weights import main
from frameworks.arrays import Arrays, save_arrays
from frameworks.config import preset
from frameworks.errors import UserError
from frameworks.state.initialisation import initial_weights

Capture = pytest.CaptureFixture[str]
TINY, V2 = preset("tiny"), preset("rtdetrv2_r18vd")
WEIGHTS = initial_weights(TINY.model, 3)
OTHER = {name: np.zeros_like(array) for name, array in WEIGHTS.items()}
MODULE = "a_module_of_nobody"


def under(prefix: str, arrays: Arrays = WEIGHTS) -> Arrays:
    return {prefix + name: array for name, array in arrays.items()}


def in_part(part: str, wrapper: str) -> Arrays:
    return {name.replace(part, f"{part}{wrapper}", 1): array for name, array in WEIGHTS.items()}


@pytest.mark.parametrize(
    "state",
    [
        under("_orig_mod."),
        under("module._orig_mod."),
        under("_orig_mod.module."),
        under("model."),
        under("model._orig_mod.module."),
        under("module.net.model."),
        under("ema.module."),
        under("network.model_ema."),
        in_part("backbone.", "_orig_mod."),
        in_part("encoder.", "module."),
        under("module.") | {"n_averaged": np.array(7)},
        under("ema_model.") | under("online_model.", OTHER) | {"initted": np.array(True), "step": np.array(3)},
    ],
)
def test_wrappers_in_any_order(tmp_path: Path, state: Arrays) -> None:
    save_arrays(tmp_path / "a", state)
    read = read_weights(tmp_path / "a").arrays
    weights, account = fit(read, TINY.model)
    assert account.complete, account.summary()
    assert all(np.array_equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)
    assert read_backbone(read, TINY.model).account.missing == []


def test_wrappers_around_hugging_faces_names() -> None:
    theirs = huggingface_state(initial_weights(V2.model, 4), V2.model)
    assert fit(under("net.", theirs), V2.model)[1].complete
    assert fit(under("model.", theirs), V2.model)[1].complete
    base = {name.removeprefix("model."): array for name, array in theirs.items()}  # RTDetrV2Model's own file
    assert fit(base, V2.model)[1].complete
    regnet = preset("rtdetr_regnet")
    assert fit(under("model.", initial_weights(regnet.model, 0)), regnet.model)[1].complete


@pytest.mark.parametrize(
    ("wrap", "form"),
    [
        (
            lambda a, b: {"model_state_dict": a, "optimizer_state_dict": {"state": b}},
            "model_state_dict",
        ),
        (lambda a, b: {"net": a, "epoch": 5}, "net"),
        (lambda a, b: {"module": a, "decay": 0.9999, "updates": 7}, "module"),
        (lambda a, b: {"state_dict": b, "state_dict_ema": a}, "state_dict_ema"),
        (lambda a, b: {"params": b, "params_ema": a}, "params_ema"),
        (lambda a, b: {"model": b, "model_ema": {"state_dict": a}}, "model_ema.state_dict"),
        (lambda a, b: {"model": {"state_dict": a}, "ema": None}, "model.state_dict"),
    ],
)
def test_places_of_the_state(tmp_path: Path, wrap: Callable[[Arrays, Arrays], Any], form: str) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(wrap(WEIGHTS, OTHER)))
    found = read_weights(tmp_path / "a.pkl")
    assert found.form == form
    assert all(np.array_equal(found.arrays[name], WEIGHTS[name]) for name in WEIGHTS)


def test_an_unknown_layout_is_listed(tmp_path: Path) -> None:
    nest: dict[str, Any] = {}
    nest["model"] = nest
    for payload in (
        {"epoch": 3, "generator": {"a": np.ones(1)}, "x\x1b": [1]},
        {"model": {}, "generator": {"a": 1}},
    ):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(payload))
        with pytest.raises(UserError, match=r"'generator' is a dict of 1") as error:
            read_weights(tmp_path / "a.pkl")
        assert str(error.value).isprintable()
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(nest))
    with pytest.raises(UserError, match="no tensors"):
        read_weights(tmp_path / "a.pkl")


@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: {"epoch": -1, "model": net, "ema": None}])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_whole_model_needs_trust_and_its_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, wrap: Callable[[Any], Any], legacy: bool
) -> None:
    (tmp_path / f"{MODULE}.py").write_text("import torch\n\n\nclass Net(torch.nn.Module):\n    pass\n")
    path = tmp_path / "whole.pth"
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        net = __import__(MODULE).Net()
        net.lin = torch.nn.Linear(2, 2)
        torch.save(wrap(net), path, _use_new_zipfile_serialization=not legacy)
        found = read_weights(path, trust=True)
        assert np.array_equal(found.arrays["lin.weight"], net.lin.weight.detach().numpy())
    monkeypatch.delitem(sys.modules, MODULE)
    assert main(["inspect", str(path)]) == 2
    said_error(capsys, f"would run {MODULE}.Net", "--trust")
    assert main(["inspect", str(path), "--trust"]) == 2
    said_error(capsys, str(path), f"the class {MODULE}.Net, which is not importable here")


def test_a_pickle_needs_its_class(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04cnobodys\nNet\n.")
    assert main(["inspect", str(tmp_path / "a.pkl"), "--trust"]) == 2
    said_error(capsys, "the class nobodys.Net, which is not importable here")
