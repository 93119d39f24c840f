"""Counts, groups and names of r18vd and small variants; test_presets.py compares all presets with the official."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import parity_tests
from frameworks.config import ModelSpec, PResNetSpec, preset
from frameworks.state import parameters
from frameworks.torch_rtdetr.exchange import trainable
from frameworks.torch_rtdetr.model import RTDETR

ORACLE = Path(parity_tests.__file__).parent / "oracle"
R18 = preset("rtdetr_r18vd")
TINY = preset("tiny").model


def test_counts_in_both_conventions():
    facts = parameters.model_facts(R18.model)
    assert (facts.parameters, facts.with_running_statistics) == (20_184_464, 20_209_749)


def test_facts_are_computed_once_and_not_to_be_changed():
    facts = parameters.model_facts(R18.model)
    assert parameters.model_facts(replace(R18.model)) is facts and facts.shapes is facts.shapes
    with pytest.raises(TypeError):
        facts.shapes["x"] = ()  # pyright: ignore[reportIndexIssue]
    parameters.state_shapes(R18.model).clear()
    assert len(parameters.state_shapes(R18.model)) == len(facts.shapes) > 0


def test_optimizer_groups_are_the_official_ones():
    with np.load(ORACLE / "v1_r18vd__train_dn__f64p.npz") as oracle:
        names, groups, rates = (oracle[k] for k in ("param_names", "param_group", "group_lr_wd"))
    assert [R18.recipe.group_of(name) for name in names] == groups.tolist()
    assert sorted(parameters.trainable_names(R18.model)) == sorted(names.tolist())
    np.testing.assert_array_equal([(g.lr, g.weight_decay) for g in R18.recipe.groups], rates)
    assert set(groups.tolist()) == {0, 1, 2, 3}, "the oracle must exercise every group"


def backbone(**changes) -> ModelSpec:
    return replace(TINY, backbone=replace(TINY.backbone, **changes))


VARIANTS = {
    "tiny": TINY,
    "bottleneck": backbone(block="bottleneck"),
    **{f"freeze_at {k}": backbone(freeze_at=k) for k in range(5)},
    "freeze_norm": backbone(freeze_norm=True),
    "r50 style": backbone(block="bottleneck", freeze_norm=True, freeze_at=0, blocks=(1, 2, 1, 1)),
    "expansion 1": replace(TINY, encoder=replace(TINY.encoder, expansion=1.0)),
    "no denoising": replace(TINY, decoder=replace(TINY.decoder, num_denoising=0)),
    "deep encoder": replace(TINY, encoder=replace(TINY.encoder, num_encoder_layers=2, use_encoder_idx=(1, 2))),
    "two levels": replace(
        TINY,
        backbone=replace(TINY.backbone, return_idx=(2, 3)),
        encoder=replace(TINY.encoder, use_encoder_idx=(1,)),
        decoder=replace(TINY.decoder, num_points=(4, 4)),
    ),
    "other classes": replace(TINY, num_classes=3),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_agree_with_the_model(name):
    spec = VARIANTS[name]
    model = RTDETR(spec)
    built = {n: tuple(v.shape) for n, v in model.state_dict().items()}
    assert parameters.state_shapes(spec) == built
    assert set(parameters.trainable_names(spec)) == set(trainable(model))
    numbers = {n: v.numel() for n, v in model.named_parameters()}
    facts = parameters.model_facts(spec)
    assert facts.parameters == sum(numbers.values())
    assert facts.with_running_statistics == sum(v.numel() for v in model.state_dict().values())


def test_freezing_removes_exactly_the_stages_named():
    whole = parameters.trainable_names(TINY)
    assert parameters.trainable_names(backbone(freeze_at=-1)) == whole
    gone = [set(whole) - set(parameters.trainable_names(backbone(freeze_at=k))) for k in range(5)]
    assert gone[0] == {n for n in whole if n.startswith("backbone.conv1.")}
    for stage in range(4):
        new = gone[stage + 1] - gone[stage]
        assert new == {n for n in whole if n.startswith(f"backbone.res_layers.{stage}.")}
    assert gone[4] == {n for n in whole if n.startswith("backbone.")}


def test_frozen_norms_are_buffers_without_a_counter():
    spec = backbone(freeze_norm=True)
    names = parameters.state_shapes(spec)
    assert not [n for n in names if n.startswith("backbone.") and n.endswith("num_batches_tracked")]
    assert [n for n in names if n.startswith("encoder.") and n.endswith("num_batches_tracked")]
    norms = [n for n in names if n.startswith("backbone.") and ".norm." in n]
    assert norms and not set(norms) & set(parameters.trainable_names(spec))
    sizes = sum(int(np.prod(names[n])) for n in names if n.startswith("backbone.") and n.endswith(".norm.weight"))
    whole = parameters.model_facts(TINY).parameters
    assert parameters.model_facts(spec).parameters == whole - 2 * sizes  # weight and bias are no parameters now


def test_bottleneck_has_expansion_four():
    shapes = parameters.state_shapes(ModelSpec(backbone=PResNetSpec(block="bottleneck", blocks=(3, 4, 6, 3))))
    assert shapes["backbone.res_layers.3.blocks.2.branch2c.conv.weight"] == (2048, 512, 1, 1)
    assert shapes["encoder.input_proj.2.0.weight"] == (256, 2048, 1, 1)
    stem = [n for n in shapes if n.startswith("backbone.conv1.") and n.rpartition(".")[2] in ("weight", "bias")]
    assert sum(int(np.prod(shapes[n])) for n in stem) == 28_512 + 256  # docs/pitfalls.md A.4 counts no frozen norms


def test_no_denoising_has_no_class_embedding():
    gone = parameters.state_shapes(TINY).keys() - parameters.state_shapes(VARIANTS["no denoising"]).keys()
    assert gone == {"decoder.denoising_class_embed.weight"}


def test_torch_state_dict_has_no_duplicates():
    model = RTDETR(TINY)
    pointers = [v.data_ptr() for v in model.state_dict().values() if v.numel() > 1]
    assert len(pointers) == len(set(pointers)), "two names share one tensor"
    assert all(v.dtype in (torch.float32, torch.int64) for v in model.state_dict().values())
