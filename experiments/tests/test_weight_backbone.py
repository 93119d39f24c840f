"""experiments/run.py --backbone: what is taken, drawn and said; other architectures, names and downloads."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.runs.deviations import TRAIN_IMAGES, deviations
from experiments.tests.coco_server import LocalCoco, serve
from experiments.tests.data_sets import shapes
from experiments.tests.runs import counting, meta, run, said_error
from experiments.tests.steppers import CountingStepper
from experiments.weight_files import official_checkpoints
from experiments.weight_files.initial import log, said, starting_backbone
from experiments.weight_files.writers import write_weights
from frameworks.arrays import Arrays, load_arrays
from frameworks.config import ExperimentSpec, preset
from frameworks.errors import UserError
from frameworks.state.initialisation import initial_weights
from frameworks.state.parameters import state_shapes
from frameworks.workers.client import open_framework

Capture = pytest.CaptureFixture[str]
TINY = preset("tiny")
TAKEN = "backbone.res_layers.1.blocks.0.branch2a.conv.weight"
STEM = "backbone.conv1.conv1_1.conv.weight"


def torchvision_folded(spec: ExperimentSpec) -> Arrays:
    """A torchvision ResNet of the spec's widths with folded norms; layer 4's convolutions have only biases."""
    random, found = np.random.default_rng(5), {}
    for name, shape in state_shapes(spec.model).items():
        place = re.fullmatch(
            r"backbone\.res_layers\.(\d)\.blocks\.(\d)\.(branch2([ab])|short\.conv)\.conv\.weight", name
        )
        if place is None:
            continue
        stage, block, module, letter = place.groups()
        conv = "downsample.0" if module == "short.conv" else f"conv{'ab'.index(letter) + 1}"
        conv = f"layer{int(stage) + 1}.{block}.{conv}"
        found[f"{conv}.bias"] = random.random(shape[0], np.float32)
        if stage != "3" or "downsample" in conv:
            found[f"{conv}.weight"] = random.random(shape, np.float32)
    stem = {"conv1.weight": random.random((12, 3, 7, 7), np.float32), "conv1.bias": np.ones(12, np.float32)}
    return stem | found | {"fc.weight": np.ones((10, 32), np.float32), "fc.bias": np.ones(10, np.float32)}


def bare(part: str, seed: int = 7) -> Arrays:
    """A part of tiny's weights under names without the part's, as its own ``state_dict`` has them."""
    start = f"{part}."
    found = initial_weights(TINY.model, seed)
    return {name.removeprefix(start): array for name, array in found.items() if name.startswith(start)}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes(tmp_path_factory.mktemp("data"), train=5, val=3)


@pytest.fixture
def folded(tmp_path: Path) -> Path:
    np.savez(tmp_path / "folded.npz", **torchvision_folded(TINY))
    return tmp_path / "folded.npz"


def test_a_run_takes_what_fits_and_says_what_does_not(
    root: Path, folded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    counting(monkeypatch, torch=CountingStepper(), jittor=CountingStepper())
    out = tmp_path / "run"
    assert run(root, out, "--backbone", str(folded), "--seed", "3") == 0
    found, drawn = load_arrays(out / "initial.safetensors"), initial_weights(TINY.model, 3)
    assert np.array_equal(found[TAKEN], torchvision_folded(TINY)["layer2.0.conv1.weight"])
    given = {name for name in found if not np.array_equal(found[name], drawn[name])}
    assert given and all(re.match(r"backbone\.res_layers\.(0|1|2|3\.blocks\.0\.short)", name) for name in given)
    record = meta(out)["weights"]
    assert (record["part"], record["source"], record["matched"]) == ("backbone", str(folded), 45)
    assert STEM in record["missed"] and "conv1.weight" in record["unused_names"] and record["unmatched"] == {}
    assert f"Backbone from {folded}, 45 of 85 tensors" in record["sentence"]
    printed = capsys.readouterr().out
    assert "missed: not in the file, drawn from the seed: 40 (backbone.conv1 15, backbone.res_layers.0 5" in printed
    assert "7x7 stem" in printed and "9 norms were folded" in printed
    assert f"  {STEM}\n" in (out / "weights.log").read_text()
    assert any(record["sentence"].rstrip(".") in line for line in meta(out)["deviations"])
    assert record["sentence"] in (out / "report.md").read_text()


def test_both_frameworks_start_from_the_same_bits(folded: Path, one_thread: None) -> None:
    weights, _ = starting_backbone(str(folded), TINY, seed=0)
    for name in ("torch", "jittor"):
        with open_framework(name, in_process=name == "torch") as framework:
            state = framework.trainer(TINY, weights, device="cpu").state()
        for key, array in weights.items():
            if f"parameter/{key}" in state:
                assert state[f"parameter/{key}"].tobytes() == array.tobytes(), (name, key)
        assert f"parameter/{TAKEN}" in state and f"parameter/{STEM}" in state


def test_a_backbone_that_is_frozen_as_drawn_is_said(folded: Path) -> None:
    backbone = replace(TINY.model.backbone, freeze_at=0, freeze_norm=True)
    frozen = replace(TINY, model=replace(TINY.model, backbone=backbone))
    text = "\n".join(said(starting_backbone(str(folded), frozen, seed=0)[1]))
    assert "NEVER LEARNED: 35 (backbone.conv1 15, backbone.res_layers.0 4" in text and "freeze_norm" in text
    assert "NEVER LEARNED" not in "\n".join(said(starting_backbone(str(folded), TINY, seed=0)[1]))


def test_another_architecture_is_refused(root: Path, tmp_path: Path, capsys: Capture) -> None:
    wide = replace(TINY.model.backbone, stage_channels=(12, 16, 24, 40))
    np.savez(tmp_path / "wide.npz", **torchvision_folded(replace(TINY, model=replace(TINY.model, backbone=wide))))
    assert run(root, tmp_path / "run", "--backbone", str(tmp_path / "wide.npz")) == 2
    said_error(capsys, "wide.npz: is no backbone of tiny", "5 shape-mismatched", "inject-backbone")
    assert not (tmp_path / "run").exists()
    np.savez(tmp_path / "other.npz", x=np.ones(3, np.float32))
    assert run(root, tmp_path / "run", "--backbone", str(tmp_path / "other.npz")) == 2
    said_error(capsys, "other.npz: nothing in it fits the backbone")


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--backbone", "nowhere.pth"], ["no such file: nowhere.pth"]),
        (["--backbone", "official"], ["tiny has no published imagenet-backbone", "rtdetr_r18vd"]),
        (["--backbone", "a.pth", "--weights", "b.pth"], ["give one of them", "--into"]),
        (["--backbone", "a.pth", "--partial-weights"], ["--weights FILE"]),
    ],
)
def test_arguments(root: Path, tmp_path: Path, capsys: Capture, arguments: list[str], fragments: list[str]) -> None:
    assert run(root, tmp_path / "run", *arguments) == 2
    said_error(capsys, *fragments)
    assert not (tmp_path / "run").exists()


def test_backbone_and_encoder_of_one_state_are_told_apart(tmp_path: Path) -> None:
    """As distillation writes them; --backbone leaves the encoder's where they are."""
    np.savez(tmp_path / "distilled.npz", **bare("backbone"), **bare("encoder"))
    weights, record = starting_backbone(str(tmp_path / "distilled.npz"), TINY, seed=0)
    given, drawn = initial_weights(TINY.model, 7), initial_weights(TINY.model, 0)
    for name, array in weights.items():
        assert np.array_equal(array, (given if name.startswith("backbone.") else drawn)[name]), name
    assert not record["missed"] and "lateral_convs.0.conv.weight" in record["unused_names"]
    assert "  lateral_convs.0.conv.weight\n" in log(record)


# --- the official backbone, from a server on this machine ---


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalCoco]:
    """Publishes a backbone for tiny."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HOME", str(tmp_path))
    write_weights(tmp_path / "a.safetensors", bare("backbone"), TINY, "safetensors")
    with serve(LocalCoco(files={"/bare.pth": (tmp_path / "a.safetensors").read_bytes()})) as running:
        table = f'[imagenet-backbone]\ntiny = {{url = "{running.base_url}/bare.pth"}}\n'
        (tmp_path / "official.toml").write_text(table, encoding="utf-8")
        monkeypatch.setattr(official_checkpoints, "PATH", tmp_path / "official.toml")
        yield running


def test_the_official_backbone_is_downloaded_once(server: LocalCoco) -> None:
    server.faults["/bare.pth"].append("cut")
    given, drawn = initial_weights(TINY.model, 7), initial_weights(TINY.model, 0)
    for _ in range(2):
        weights, record = starting_backbone("official", TINY, seed=0)
        for name, array in weights.items():
            assert np.array_equal(array, (given if name.startswith("backbone.") else drawn)[name]), name
    assert len(server.requests) == 2 and server.requests[1][1].startswith("bytes="), "resumed, then from the cache"
    assert record["path"].endswith(".cache/twin-detr/weights/bare.pth")
    assert said(record)[0].endswith("bare.pth, 85 of 85 tensors; the rest of the model drawn from the seed.")
    assert not any("backbone" in line for line in deviations(TINY, TINY, TRAIN_IMAGES, record))


def test_a_spec_of_ones_own_has_the_backbone_of_its_architecture(server: LocalCoco) -> None:
    backbone = replace(TINY.model.backbone, freeze_at=1, freeze_norm=True)
    own = replace(TINY, name="mine", model=replace(TINY.model, backbone=backbone))
    weights, record = starting_backbone("official", own, seed=0)
    assert not record["missed"] and np.array_equal(weights[STEM], initial_weights(TINY.model, 7)[STEM])
    deeper = replace(backbone, blocks=(1, 1, 2, 2))
    with pytest.raises(UserError, match="mine has no published imagenet-backbone"):
        starting_backbone("official", replace(own, model=replace(own.model, backbone=deeper)), seed=0)


def test_an_official_backbone_has_to_be_whole(server: LocalCoco, tmp_path: Path) -> None:
    arrays = {name: array for name, array in bare("backbone").items() if not name.startswith("res_layers.3.")}
    write_weights(tmp_path / "a.safetensors", arrays, TINY, "safetensors")
    server.files["/bare.pth"] = (tmp_path / "a.safetensors").read_bytes()
    with pytest.raises(UserError, match=r"is no backbone of tiny: 72 matched, 25 missing"):
        starting_backbone("official", TINY, seed=0)
