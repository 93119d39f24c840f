"""The four backbones of both twins: names, freezing, stages, initial weights, and closed forms of their parts.

Jittor computes in few tests only: its shapes are known without compiling a kernel.
"""

import os
import typing
from dataclasses import replace
from importlib.machinery import PathFinder
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import frameworks
from frameworks.config import BackboneSpec, DLASpec, HGNetv2Spec, HGStageSpec, ModelSpec, PResNetSpec, RegNetSpec
from frameworks.config.backbones import HGNETV2_SIZES
from frameworks.protocol import DEVICE_VARIABLE
from frameworks.state import backbones, parameters
from frameworks.state.backbones import backbone_shapes, frozen_modules, norm_modules, stem_and_stages
from frameworks.state.initialisation import initial_weights
from frameworks.torch_rtdetr.backbones import make_backbone

PRESNET = PResNetSpec(blocks=(1, 2, 1, 1), stem_channels=(6, 6, 8), stage_channels=(8, 10, 12, 16))
HGNETV2 = HGNetv2Spec(
    stem_channels=(8, 12),
    stages=(
        HGStageSpec(6, 16, 1, downsample=False, light=False, kernel=3, layers=2),
        HGStageSpec(6, 20, 2, downsample=True, light=False, kernel=3, layers=3),
        HGStageSpec(8, 24, 2, downsample=True, light=True, kernel=5, layers=2),
        HGStageSpec(10, 32, 1, downsample=True, light=True, kernel=5, layers=2),
    ),
    freeze_at=-1,
    freeze_norm=False,
)
DEEP_DLA = DLASpec(levels=(1, 2, 1, 2, 3, 1), channels=(6, 8, 10, 12, 16, 20))
REGNET = RegNetSpec(stem_channels=8, depths=(1, 2, 2, 1), widths=(8, 12, 16, 24), group_width=4)
FAMILIES: dict[str, BackboneSpec] = {"presnet": PRESNET, "hgnetv2": HGNETV2, "dla": DEEP_DLA, "regnet": REGNET}
CHANGES = [{}, {"freeze_norm": True}, *({"freeze_at": k} for k in range(5))]
CHANGES += [{"freeze_norm": True, "freeze_at": 1}, {"return_idx": (0, 1, 2)}]
VARIANTS: dict[str, BackboneSpec] = {
    f"{family} {change}": replace(spec, **change) for family, spec in FAMILIES.items() for change in CHANGES
}


@pytest.fixture(scope="module", params=["torch", "jittor"])
def twin(request):
    return torch_twin() if request.param == "torch" else jittor_twin()


def torch_twin() -> SimpleNamespace:
    from frameworks.torch_rtdetr.backbones import hgnetv2, regnet

    return SimpleNamespace(
        make_backbone=make_backbone,
        hgnetv2=hgnetv2,
        regnet=regnet,
        shapes=lambda module: {n: tuple(v.shape) for n, v in module.state_dict().items()},
        trainable=lambda module: {n for n, p in module.named_parameters() if p.requires_grad},
        feature_shapes=lambda module, *images: [tuple(f.shape) for f in module.eval()(torch.zeros(images))],
        array=torch.from_numpy,
        evaluate=lambda module, x: module.double().eval()(torch.from_numpy(x)).detach().numpy(),
    )


def jittor_twin() -> SimpleNamespace:
    if PathFinder.find_spec("jittor") is None or os.environ.get(DEVICE_VARIABLE, "cpu") != "cpu":
        pytest.skip("needs Jittor on CPU")
    assert frameworks.load("jittor").supports("cpu", "float64") is None
    import jittor as jt

    from frameworks.jittor_rtdetr import backbones, exchange, layers
    from frameworks.jittor_rtdetr.backbones import hgnetv2, regnet

    def shapes(module) -> dict[str, tuple[int, ...]]:
        norms = [n for n, m in module.named_modules() if isinstance(m, layers.BatchNorm2d)]
        tensors = {n: tuple(v.shape) for n, v in module.state_dict().items()}
        return tensors | {f"{n}.num_batches_tracked": () for n in norms}

    def run(module, x):
        exchange.set_training(module, False)
        return module(x)

    return SimpleNamespace(
        make_backbone=backbones.make_backbone,
        hgnetv2=hgnetv2,
        regnet=regnet,
        shapes=shapes,
        trainable=lambda module: {n for n, p in module.state_dict().items() if not p.is_stop_grad()},
        feature_shapes=lambda module, *images: [tuple(f.shape) for f in run(module, jt.zeros(images))],
        array=jt.array,
        evaluate=lambda module, x: run(module, jt.array(x)).numpy(),
    )


@pytest.mark.parametrize("name", VARIANTS)
def test_names_shapes_and_trainable_parameters(twin, name):
    spec = VARIANTS[name]
    backbone = twin.make_backbone(spec)
    built = {f"backbone.{n}": shape for n, shape in twin.shapes(backbone).items()}
    assert built == dict(backbone_shapes(spec))
    wanted = {n for n in parameters.trainable_names(ModelSpec(backbone=spec)) if n.startswith("backbone.")}
    assert {f"backbone.{n}" for n in twin.trainable(backbone)} == wanted


@pytest.mark.parametrize("return_idx", [(0, 1, 2, 3), (1, 2, 3), (2, 3), (0,), (3,)], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_stages_handed_out(twin, family, return_idx):
    spec = replace(FAMILIES[family], return_idx=return_idx)
    wanted = [(2, c, 96 // s, 128 // s) for c, s in zip(spec.out_channels, spec.out_strides, strict=True)]
    assert twin.feature_shapes(twin.make_backbone(spec), 2, 3, 96, 128) == wanted


def test_every_spec_has_its_family_and_its_cases():
    assert (
        set(typing.get_args(BackboneSpec)) == set(backbones.FAMILIES) == {type(spec) for spec in FAMILIES.values()}
    )
    assert [backbones.summary(spec).split()[0] for spec in FAMILIES.values()] == list(FAMILIES)


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        (PResNetSpec(), "ResNet-18-vd"),
        (PResNetSpec(block="bottleneck", blocks=(3, 4, 23, 3)), "ResNet-101-vd"),
        (replace(HGNETV2_SIZES["X"], freeze_norm=False), "HGNetv2-X"),
        (HGNETV2, "HGNetv2"),
        (DLASpec(return_idx=(0, 1)), "DLA-34"),
        (DLASpec(levels=(1, 1, 1, 2, 3, 1)), "DLA-44"),
        (RegNetSpec(freeze_at=2), "RegNetY-4.0GF"),
        (REGNET, "RegNetY"),
    ],
)
def test_labels(spec, label):
    assert backbones.label(spec) == label


@pytest.mark.parametrize("family", FAMILIES)
def test_stem_and_stages_hold_every_parameter_once(family):
    spec = FAMILIES[family]
    stem, stages = stem_and_stages(spec)
    assert len(stages) == 4
    for name, _ in backbone_shapes(spec):
        assert sum(name.startswith(f"{path}.") for path in (*stem, *stages)) == 1, name


@pytest.mark.parametrize("family", FAMILIES)
def test_stem_and_stages_are_in_the_order_of_the_data_flow(family):
    backbone = make_backbone(FAMILIES[family])
    stem, stages = stem_and_stages(FAMILIES[family])
    seen: list[str] = []
    for path in (*stem, *stages):
        module = backbone.get_submodule(path.removeprefix("backbone."))
        module.register_forward_hook(lambda *_, path=path: seen.append(path))
    backbone(torch.zeros(2, 3, 64, 64))
    assert seen == [*stem, *stages]


@pytest.mark.parametrize("freeze_norm", [False, True])
@pytest.mark.parametrize("freeze_at", [-1, 0, 1, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_frozen_stages_get_no_gradient(family, freeze_at, freeze_norm):
    spec = replace(FAMILIES[family], freeze_at=freeze_at, freeze_norm=freeze_norm)
    backbone = make_backbone(spec)
    features = backbone(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    torch.stack([(f * f).sum() for f in features]).sum().backward()
    frozen = tuple(f"{path}." for path in frozen_modules(spec))
    assert len(frozen) == (0 if freeze_at < 0 else len(stem_and_stages(spec)[0]) + freeze_at)
    for name, parameter in backbone.named_parameters():
        assert (parameter.grad is None) == f"backbone.{name}".startswith(frozen or ("none",)), name


@pytest.mark.parametrize("family", FAMILIES)
def test_frozen_norms_are_buffers_without_a_counter(family):
    spec = ModelSpec(backbone=replace(FAMILIES[family], freeze_norm=True))
    live, frozen = parameters.state_shapes(ModelSpec(backbone=FAMILIES[family])), parameters.state_shapes(spec)
    counters = {n for n in live if n.startswith("backbone.") and n.endswith("num_batches_tracked")}
    assert live.keys() - frozen.keys() == counters
    norms = [n for n in frozen if parameters.model_facts(spec).is_frozen_norm(n)]
    assert len(norms) == 4 * len(counters) == 4 * len(norm_modules(spec.backbone))
    assert not [n for n in norms if len(frozen[n]) != 1 or not n.startswith("backbone.")]
    trainable = [n for n in parameters.trainable_names(spec) if n.startswith("backbone.")]
    assert {len(frozen[n]) for n in trainable if not n.endswith("bias")} == {4}, "only convolutions learn"
    assert {n.split(".")[-3] for n in trainable if n.endswith("bias")} <= {"attention"}


@pytest.mark.parametrize(
    ("family", "name", "fan"),
    [
        ("hgnetv2", "stages.1.blocks.0.aggregation_squeeze_conv.conv.weight", 16 + 3 * 6),
        ("hgnetv2", "stages.0.blocks.0.layers.1.conv.weight", 6 * 9),
        ("dla", "model.level4.tree1.tree1.tree1.conv2.weight", 16 * 9),
        ("regnet", "model.encoder.stages.3.layers.0.layer.1.convolution.weight", 24 * 9),
        ("regnet", "model.encoder.stages.3.layers.0.layer.2.attention.0.weight", 4),
    ],
)
def test_initial_convolutions_are_kaiming_normal(family, name, fan):
    value = initial_weights(ModelSpec(backbone=FAMILIES[family]), 3)[f"backbone.{name}"].astype(np.float64)
    assert value.std() == pytest.approx(np.sqrt(2 / fan), rel=4 / np.sqrt(2 * value.size))
    assert abs(value.mean()) < 4 * np.sqrt(2 / fan / value.size)
    assert np.abs(value).max() > 2 * np.sqrt(2 / fan), "a uniform distribution ends at 1.7 standard deviations"


@pytest.mark.parametrize("family", ["hgnetv2", "dla", "regnet"])
def test_initial_norms_are_the_identity(family):
    spec = ModelSpec(backbone=FAMILIES[family])
    weights = initial_weights(spec, 3)
    for path in norm_modules(spec.backbone):
        assert (weights[f"{path}.weight"] == 1).all() and not weights[f"{path}.bias"].any()


def test_even_kernels_are_padded_at_the_right_and_the_bottom(twin):
    """A 2x2 convolution of ones over a map of ones counts the pixels in its window."""
    layer = twin.hgnetv2.ConvNormAct(1, 1, 2)
    conv = list(layer.conv)[-1]
    conv.weight = parameter(twin, conv, np.ones((1, 1, 2, 2)))
    y = twin.evaluate(layer, np.ones((1, 1, 3, 4)))[0, 0] * np.sqrt(1 + 1e-5)  # the norm divides by this
    wanted = np.array([[4, 4, 4, 2], [4, 4, 4, 2], [2, 2, 2, 1]])
    np.testing.assert_allclose(y, wanted, rtol=1e-6)  # a new norm has float32 ones in Jittor


def parameter(twin, module, value: np.ndarray):
    """A replacement for a parameter of ``module``."""
    return torch.nn.Parameter(twin.array(value)) if isinstance(module, torch.nn.Module) else twin.array(value)


def test_squeeze_and_excitation(twin):
    """Gate = sigmoid(W2 relu(W1 mean + b1) + b2), one number a channel and image."""
    rng = np.random.default_rng(0)
    x, shapes = rng.normal(size=(2, 6, 3, 5)), ((2, 6), (2,), (6, 2), (6,))
    w1, b1, w2, b2 = (rng.normal(size=shape) for shape in shapes)
    layer = twin.regnet.SqueezeExcitation(6, 2)
    first, _, second, _ = list(layer.attention)
    for conv, weight, bias in ((first, w1, b1), (second, w2, b2)):
        conv.weight = parameter(twin, conv, weight[:, :, None, None])
        conv.bias = parameter(twin, conv, bias)
    hidden = np.maximum(x.mean((2, 3)) @ w1.T + b1, 0)
    gate = 1 / (1 + np.exp(-(hidden @ w2.T + b2)))
    np.testing.assert_allclose(twin.evaluate(layer, x), x * gate[:, :, None, None], atol=1e-14)


def test_squeezed_width_is_a_quarter_of_the_layers_input():
    shapes = dict(backbone_shapes(RegNetSpec()))
    name = "backbone.model.encoder.stages.1.layers.{}.layer.2.attention.0.weight"
    assert shapes[name.format(0)] == (32, 192, 1, 1) and shapes[name.format(1)] == (48, 192, 1, 1)


def test_the_last_root_of_a_deep_tree_sees_everything_in_order():
    """Level 3 of depth 2: both blocks of the second tree, the pooled input of the level, the first tree."""
    backbone = make_backbone(DEEP_DLA).double().eval()
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str):
        def hook(module, inputs, output):
            seen[name], seen[f"{name} input"] = output, inputs[0]

        backbone.get_submodule(f"model.{name}").register_forward_hook(hook)

    for name in ("level2", "level3.tree1", "level3.tree2.tree1", "level3.tree2.tree2", "level3.tree2.root.conv"):
        keep(name)
    backbone(torch.rand(1, 3, 64, 96, dtype=torch.float64))
    level2 = seen["level2"]
    pooled = level2.reshape(*level2.shape[:2], level2.shape[2] // 2, 2, -1, 2).amax((3, 5))
    children = [seen["level3.tree2.tree2"], seen["level3.tree2.tree1"], pooled, seen["level3.tree1"]]
    assert torch.equal(seen["level3.tree2.root.conv input"], torch.cat(children, dim=1))


def test_no_activation_after_the_sum_of_a_residual_hg_block():
    from frameworks.torch_rtdetr.backbones.hgnetv2 import Block

    spec = HGNETV2.stages[0]
    x = torch.full((1, spec.out_channels, 4, 4), -9.0)
    plain, residual = (Block(spec, spec.out_channels, residual=r, frozen=False).eval() for r in (False, True))
    residual.load_state_dict(plain.state_dict())
    assert plain(x).min() >= 0
    assert torch.equal(residual(x), plain(x) + x)
