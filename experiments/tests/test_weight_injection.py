"""Backbones from elsewhere: names, stages, folded norms."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from experiments.tests.runs import said_error
from experiments.weight_files.folded import EPS, norms_of_convolutions, unfold
from experiments.weight_files.inject import read_backbone
from experiments.weight_files.readers import read_weights
from experiments.weight_files.writers import write_weights
from experiments.weights import main
from frameworks.arrays import Arrays
from frameworks.config import PRESETS, preset
from frameworks.state.initialisation import initial_weights
from frameworks.state.parameters import state_shapes

Capture = pytest.CaptureFixture[str]
TINY, R18, R50 = preset("tiny"), preset("rtdetr_r18vd"), preset("rtdetr_r50vd")
NORM = ("weight", "bias", "running_mean", "running_var")


def backbone(name: str, seed: int = 1) -> Arrays:
    """The backbone's part of drawn weights, all different from those of another seed."""
    found = initial_weights(PRESETS[name].model, seed)
    random = np.random.default_rng(seed)
    return {
        key: random.random(array.shape, np.float32) if array.shape else array
        for key, array in found.items()
        if key.startswith("backbone.")
    }


def resnet(blocks: tuple[int, ...], *, bottleneck: bool, deep: bool) -> Arrays:
    """A state under torchvision's names, or timm's of variant d (``deep``: stem and pooled shortcuts)."""
    random = np.random.default_rng(0)
    state: Arrays = {}

    def add(conv: str, norm: str, out: int, into: int, kernel: int) -> None:
        state[f"{conv}.weight"] = random.random((out, into, kernel, kernel), np.float32)
        state.update({f"{norm}.{leaf}": random.random(out, np.float32) for leaf in NORM})
        state[f"{norm}.num_batches_tracked"] = np.array(5)

    if deep:
        for conv, norm, out, into in (("0", "conv1.1", 32, 3), ("3", "conv1.4", 32, 32), ("6", "bn1", 64, 32)):
            add(f"conv1.{conv}", norm, out, into, 3)
    else:
        add("conv1", "bn1", 64, 3, 7)
    into, expansion = 64, 4 if bottleneck else 1
    for stage, count in enumerate(blocks):
        width = 64 * 2**stage
        for block in range(count):
            name = f"layer{stage + 1}.{block}"
            out = width * expansion
            kernels, widths = ((1, 3, 1), (width, width, out)) if bottleneck else ((3, 3), (width, out))
            before = into
            for i, (kernel, after) in enumerate(zip(kernels, widths, strict=True)):
                add(f"{name}.conv{i + 1}", f"{name}.bn{i + 1}", after, before, kernel)
                before = after
            if block == 0 and into != out:
                add(f"{name}.downsample.{int(deep)}", f"{name}.downsample.{int(deep) + 1}", out, into, 1)
            into = out
    return state | {"fc.weight": random.random((1000, into), np.float32), "fc.bias": np.zeros(1000, np.float32)}


@pytest.mark.parametrize("name", ["tiny", "rtdetrv2_hgnetv2_l", "rtdetr_dla34", "rtdetr_regnet"])
@pytest.mark.parametrize("start", ["backbone.", "", "module.", "model.backbone.", "regnet."])
def test_every_family_under_every_prefix(name: str, start: str) -> None:
    ours = backbone(name)
    theirs = {start + key.removeprefix("backbone."): array for key, array in ours.items()}
    reading = read_backbone(theirs, PRESETS[name].model)
    assert reading.account.complete and reading.account.matched == list(ours)
    assert all(np.array_equal(reading.weights[key], ours[key]) for key in ours)


def test_names_without_the_inner_model() -> None:
    ours = backbone("rtdetr_dla34")
    theirs = {key.removeprefix("backbone.model."): array for key, array in ours.items()}
    assert "level2.tree1.conv1.weight" in theirs
    assert read_backbone(theirs, PRESETS["rtdetr_dla34"].model).account.complete


def test_torchvision() -> None:
    state = resnet((2, 2, 2, 2), bottleneck=False, deep=False)
    reading = read_backbone(state, R18.model)
    assert (reading.naming, reading.folded) == ("torchvision", 0)
    pairs = {
        "backbone.res_layers.0.blocks.1.branch2b.conv.weight": "layer1.1.conv2.weight",
        "backbone.res_layers.3.blocks.0.branch2a.norm.running_var": "layer4.0.bn1.running_var",
        "backbone.res_layers.2.blocks.0.short.conv.conv.weight": "layer3.0.downsample.0.weight",
        "backbone.res_layers.2.blocks.0.short.conv.norm.bias": "layer3.0.downsample.1.bias",
    }
    assert all(np.array_equal(reading.weights[ours], state[theirs]) for ours, theirs in pairs.items())
    stem_and_first_shortcut = [name for name in reading.account.missing if "conv1_" not in name]
    assert {name.rpartition(".short.")[0] for name in stem_and_first_shortcut} == {"backbone.res_layers.0.blocks.0"}
    left = {"conv1.weight", "fc.weight", "fc.bias", *(f"bn1.{leaf}" for leaf in (*NORM, "num_batches_tracked"))}
    assert set(reading.account.unused) == left


def test_timm_d_is_the_whole_backbone() -> None:
    state = resnet((3, 4, 6, 3), bottleneck=True, deep=True)
    reading = read_backbone({f"model.{name}": array for name, array in state.items()}, R50.model)
    assert (reading.naming, reading.prefix) == ("timm-d", "model.")
    assert not reading.account.missing and not reading.account.mismatched
    pairs = {
        "backbone.conv1.conv1_1.conv.weight": "conv1.0.weight",
        "backbone.conv1.conv1_3.norm.bias": "bn1.bias",
        "backbone.res_layers.0.blocks.0.short.conv.weight": "layer1.0.downsample.1.weight",
        "backbone.res_layers.1.blocks.0.short.conv.norm.weight": "layer2.0.downsample.2.weight",
        "backbone.res_layers.3.blocks.2.branch2c.conv.weight": "layer4.2.conv3.weight",
    }
    assert all(np.array_equal(reading.weights[ours], state[theirs]) for ours, theirs in pairs.items())
    counters = [name for name in reading.account.unused if not name.endswith("num_batches_tracked")]
    assert counters == ["model.fc.bias", "model.fc.weight"], "a frozen norm has no counter"


def test_another_depth_does_not_pass_for_this_one(tmp_path: Path, capsys: Capture) -> None:
    np.savez(tmp_path / "r50.npz", **resnet((3, 4, 6, 3), bottleneck=True, deep=True))
    command = ["inject-backbone", str(tmp_path / "r50.npz"), "--tuning", "--preset", "rtdetr_r18vd"]
    assert main([*command, "--out", str(tmp_path / "a.pth")]) == 2
    said_error(capsys, "shape-mismatched (first", "--partial")
    assert not (tmp_path / "a.pth").exists()


def test_chosen_stages_and_nothing_else(tmp_path: Path, capsys: Capture) -> None:
    base, new = initial_weights(TINY.model, 2), backbone("tiny", 7)
    new["backbone.conv1.conv1_1.conv.weight"] = np.ones(1, np.float32)  # wrong, but not asked for
    write_weights(tmp_path / "base.pkl", base, TINY, "pkl")
    np.savez(tmp_path / "new.npz", **new)
    out = tmp_path / "out.pth"
    command = [
        "inject-backbone",
        str(tmp_path / "new.npz"),
        "--preset",
        "tiny",
        "--stages",
        "1,3",
        "--out",
        str(out),
    ]
    assert main([*command, "--into", str(tmp_path / "base.pkl")]) == 0
    assert (
        f"matched            {sum('res_layers.1' in n or 'res_layers.3' in n for n in new)}"
        in capsys.readouterr().out
    )
    found = read_weights(out).arrays
    for name, array in base.items():
        inside = name.startswith(("backbone.res_layers.1.", "backbone.res_layers.3."))
        assert np.array_equal(found[name], new[name] if inside else array), name


def test_tuning_checkpoint_loads_with_partial(tmp_path: Path, capsys: Capture) -> None:
    new = backbone("tiny", 7)
    np.savez(tmp_path / "new.npz", **new)
    out = tmp_path / "out.safetensors"
    command = ["inject-backbone", str(tmp_path / "new.npz"), "--preset", "tiny", "--tuning", "--out", str(out)]
    assert main(command) == 0
    assert read_weights(out).arrays.keys() == new.keys()
    assert main(["convert", str(out), str(tmp_path / "x.pth"), "--preset", "tiny"]) == 2
    assert main(["convert", str(out), str(tmp_path / "x.pth"), "--preset", "tiny", "--partial"]) == 0


def test_a_map_of_the_users_own(tmp_path: Path) -> None:
    ours = backbone("tiny")
    state = {re.sub(r"^backbone\.", "net/", name).replace("norm", "bn"): array for name, array in ours.items()}
    rules = [["{rest}.bn.{leaf}", "{rest}.norm.{leaf}"], ["{rest}.conv.{leaf}", "{rest}.conv.{leaf}"]]
    (tmp_path / "map.json").write_text(json.dumps({"rules": rules}))
    reading = read_backbone(state, TINY.model, prefix="net/", rules_file=tmp_path / "map.json")
    assert reading.account.complete and reading.account.matched == list(ours)


# --- folded batch norms ---


def folded_resnet(root: Path) -> tuple[Path, Arrays]:
    """A file of the form of a folded torchvision ResNet-18: biases, no norms, layer 4 incomplete."""
    state = {
        re.sub(r"bn(\d)", r"conv\1", name).replace("downsample.1", "downsample.0"): array
        for name, array in resnet((2, 2, 2, 2), bottleneck=False, deep=False).items()
        if name.endswith((".weight", ".bias")) and not re.search(r"(bn\d|downsample\.1)\.weight", name)
    }
    incomplete = {name: array for name, array in state.items() if not re.match(r"layer4\.\d\.conv\d\.weight", name)}
    np.savez(root / "folded.npz", **incomplete)
    return root / "folded.npz", incomplete


def check_folded(path: Path, state: Arrays) -> None:
    reading = read_backbone(read_weights(path).arrays, R18.model)
    assert (reading.naming, reading.folded, len(reading.account.matched)) == ("torchvision", 15, 75)
    biases = [f"layer4.{block}.conv{conv}.bias" for block in (0, 1) for conv in (1, 2)]
    assert reading.account.unused == sorted([*biases, "conv1.bias", "conv1.weight", "fc.bias", "fc.weight"])
    for stage, block, conv in ((0, 0, "a"), (1, 1, "b"), (2, 0, "b")):
        ours = f"backbone.res_layers.{stage}.blocks.{block}.branch2{conv}"
        theirs = f"layer{stage + 1}.{block}.conv{'ab'.index(conv) + 1}"
        check_same_function(reading.weights, ours, state[f"{theirs}.weight"], state[f"{theirs}.bias"])


def check_same_function(weights: Arrays, ours: str, weight: np.ndarray, bias: np.ndarray) -> None:
    """Convolution and norm in evaluation mode against the folded convolution, in float32 and float64."""
    x = torch.randn(1, weight.shape[1], 6, 6, generator=torch.Generator().manual_seed(0))
    for dtype, limit in ((torch.float32, 0.0), (torch.float64, 3e-8)):
        arrays = {leaf: torch.from_numpy(weights[f"{ours}.norm.{leaf}"]).to(dtype) for leaf in NORM}
        convolved = torch.nn.functional.conv2d(x.to(dtype), torch.from_numpy(weight).to(dtype))
        expected = convolved + torch.from_numpy(bias).to(dtype)[None, :, None, None]
        scale = arrays["weight"] / torch.sqrt(arrays["running_var"] + EPS)
        got = (convolved - arrays["running_mean"][:, None, None]) * scale[:, None, None] + arrays["bias"][
            :, None, None
        ]
        assert float((got - expected).abs().max() / expected.abs().max()) <= limit
        if dtype == torch.float32:
            assert np.array_equal(weights[f"{ours}.conv.weight"], weight) and bool((scale == 1).all())


def test_folded_norms(tmp_path: Path) -> None:
    check_folded(*folded_resnet(tmp_path))


def test_folded_norms_of_real_weights() -> None:
    root = os.environ.get("WEIGHTS_ROOT")
    path = Path(root or ".") / "resnet18_imagenet_partial_bnfolded.npz"
    if root is None or not path.is_file():
        pytest.skip("WEIGHTS_ROOT names no folder with resnet18_imagenet_partial_bnfolded.npz")
    check_folded(path, read_weights(path).arrays)


@given(
    bias=st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=2),
    x=st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=2),
)
def test_an_unfolded_norm_adds_the_bias_in_float64(bias: list[float], x: list[float]) -> None:
    shapes = {"c.weight": (2, 1, 1, 1), **{f"n.{leaf}": (2,) for leaf in NORM}}
    found, folded = unfold({"c.weight": np.ones((2, 1, 1, 1)), "c.bias": np.array(bias)}, shapes)
    assert folded == {"c.bias": "n"} and "c.bias" not in found
    mean, variance = found["n.running_mean"], found["n.running_var"]
    got = (np.array(x) - mean) / np.sqrt(variance + EPS) * found["n.weight"] + found["n.bias"]
    np.testing.assert_allclose(got, np.array(x) + np.array(bias), rtol=1e-15, atol=1e-12)


def test_a_bias_beside_a_norm_or_without_a_weight_stays() -> None:
    shapes = {"c.weight": (2, 1, 1, 1), **{f"n.{leaf}": (2,) for leaf in NORM}}
    alone = {"c.bias": np.ones(2)}
    beside = {"c.weight": np.ones((2, 1, 1, 1)), "c.bias": np.ones(2), "n.weight": np.ones(2)}
    for arrays in (alone, beside):
        found, folded = unfold(arrays, shapes)
        assert found.keys() == arrays.keys() and not folded


@pytest.mark.parametrize("name", [name for name in PRESETS if not name.startswith("rtdetrv2_r")])
def test_every_norm_stands_behind_a_convolution_of_its_width(name: str) -> None:
    shapes = {key: shape for key, shape in state_shapes(PRESETS[name].model).items() if key.startswith("backbone.")}
    pairs = norms_of_convolutions(shapes)
    assert len(pairs) == sum(key.endswith("running_mean") for key in shapes)
    assert all(shapes[f"{conv}.weight"][0] == shapes[f"{norm}.bias"][0] for conv, norm in pairs.items())


def test_timm_hgnetv2_is_the_whole_backbone() -> None:
    """Shapes alone decide, so that the arrays need no memory."""
    model = PRESETS["rtdetrv2_hgnetv2_l"].model
    ours = {name: shape for name, shape in state_shapes(model).items() if name.startswith("backbone.")}
    theirs: Arrays = {
        "head.fc.weight": np.ones((5, 5), np.float32),
        "head.last_conv.0.weight": np.ones(5, np.float32),
    }
    for name, shape in ours.items():
        name = re.sub(r"(stem2[ab]\.conv)\.1\.", r"\1.", name.removeprefix("backbone."))
        name = name.replace("aggregation_squeeze_conv", "aggregation.0").replace(
            "aggregation_excitation_conv", "aggregation.1"
        )
        theirs[name] = np.broadcast_to(np.float32(1), shape)
    assert "stem.stem2a.conv.weight" in theirs and "stages.2.blocks.1.aggregation.1.bn.bias" in theirs
    reading = read_backbone(theirs, model)
    assert reading.naming == "timm-hgnetv2" and reading.account.matched == list(ours)
    assert reading.account.unused == ["head.fc.weight", "head.last_conv.0.weight"] and not reading.account.missing
