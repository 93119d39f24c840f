"""Presets and aliases against what the official repository builds: facts, names, shapes, groups, operations."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

from frameworks.config import ALIASES, PRESETS, preset, to_dict
from frameworks.protocol import Framework
from frameworks.state import parameters
from frameworks.state.constants import constant_shapes
from frameworks.state.named_shapes import Shape
from frameworks.tests import official
from frameworks.tests.flops import flops_after_fusion
from frameworks.torch_rtdetr import flops
from frameworks.torch_rtdetr.adapter import FRAMEWORK as TORCH
from frameworks.workers.client import open_framework

SIZE_HW = (640, 640)
every_config = pytest.mark.parametrize("name", official.CONFIGS)
every_preset = pytest.mark.parametrize("name", official.PRESETS)


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Equal key by key, so that a failure shows the few that are not."""
    assert {
        key: (ours.get(key), theirs.get(key)) for key in ours | theirs if ours.get(key) != theirs.get(key)
    } == {}
    assert ours.keys() == theirs.keys()


def numbers(shapes: dict[str, Shape]) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


def test_every_official_config_has_its_name():
    assert list(official.PRESETS) == [name for name in PRESETS if name != "tiny"]
    assert list(official.ALIASES) == list(ALIASES)
    assert (len(official.PRESETS), len(official.ALIASES)) == (23, 5)
    files = {(facts["repository"], facts["config"]) for facts in official.CONFIGS.values()}
    assert len(files) == 28
    for name, facts in official.PRESETS.items():
        parts = name.removesuffix("_voc").split("_")
        assert facts["config"].startswith("_".join(parts)), "the official name, less schedule and data set"
        assert facts["repository"] == ("rtdetrv2_pytorch" if parts[0] == "rtdetrv2" else "rtdetr_pytorch")


@pytest.mark.parametrize("name", ALIASES)
def test_aliases_differ_in_warm_up_and_groups_alone(name: str):
    spec, of = ALIASES[name], PRESETS[name.removesuffix("_v2code")]
    assert preset(name) is spec and spec.name == name and name not in PRESETS
    assert official.ALIASES[name]["config"] == official.PRESETS[of.name]["config"]
    assert official.ALIASES[name]["repository"] == "rtdetrv2_pytorch"
    recipe = replace(of.recipe, warmup_steps=2000, groups=spec.recipe.groups)
    assert spec == replace(of, name=name, recipe=recipe)


@every_config
def test_backbone_and_encoder(name: str):
    model, facts = preset(name).model, official.CONFIGS[name]
    assert model.version == ("v2" if facts["decoder"]["cls"] == "RTDETRTransformerv2" else "v1")
    assert facts["encoder"].get("version", model.version) == model.version
    same(
        {
            field: getattr(model.backbone, field)
            for field in ("return_idx", "out_channels", "freeze_at", "freeze_norm")
        },
        {
            "return_idx": tuple(facts["backbone"]["return_idx"]),
            "out_channels": tuple(facts["backbone"]["out_channels"]),
            # DLA and RegNet have neither switch: nothing is frozen.
            "freeze_at": -1 if facts["backbone"]["freeze_at"] is None else facts["backbone"]["freeze_at"],
            "freeze_norm": bool(facts["backbone"]["freeze_norm"]),
        },
    )
    theirs = {"pe_temperature": 10000} | facts["encoder"]
    assert theirs.pop("in_channels") == list(model.backbone.out_channels)
    assert theirs.pop("feat_strides") == list(model.backbone.out_strides)
    assert theirs.pop("dropout") == 0.0
    same(to_dict(model.encoder), theirs)


@every_config
def test_decoder(name: str):
    model, facts = preset(name).model, official.CONFIGS[name]
    theirs = dict(facts["decoder"])
    decoder = model.decoder
    levels, points = theirs["num_levels"], theirs["num_points"]
    assert theirs["dropout"] == 0.0 and theirs["aux_loss"] is preset(name).criterion.aux_loss
    if name not in ALIASES:  # they compute the anchors in every step
        assert theirs["eval_spatial_size"] == list(preset(name).data.image_size)
    assert theirs["activation"].lower() == decoder.activation
    assert theirs["eval_idx"] == decoder.eval_layer
    assert decoder.num_points == (tuple(points) if isinstance(points, list) else (points,) * levels)
    assert theirs.get("cross_attn_method", "default") == decoder.cross_attn_method
    assert theirs.get("query_select_method", "default") == "default"
    assert model.num_classes == theirs["num_classes"] == facts["criterion"]["num_classes"]
    assert decoder.num_layers == theirs["n_layers"] and model.num_levels == levels
    denoising = ("num_denoising", "label_noise_ratio", "box_noise_scale")
    for field in ("hidden_dim", "nhead", "num_queries", "eps", "dim_feedforward", *denoising):
        assert getattr(decoder, field) == theirs[field], field


@every_config
def test_criterion_and_post_processing(name: str):
    spec, facts = preset(name), official.CONFIGS[name]
    criterion, theirs = spec.criterion, facts["criterion"]
    weights = {f"loss_{kind}": getattr(criterion, f"weight_{kind}") for kind in ("vfl", "bbox", "giou")}
    same(weights, theirs["weight_dict"])
    assert (criterion.alpha, criterion.gamma) == (theirs["alpha"], theirs["gamma"])
    assert theirs["losses"] == ["vfl", "boxes"]
    assert not theirs.get("share_matched_indices") and theirs.get("boxes_weight_format") is None
    matcher = {"type": "HungarianMatcher", "use_focal_loss": True}
    same(to_dict(criterion.matcher) | matcher, facts["matcher"])
    after = facts["postprocessor"]
    assert after["use_focal_loss"] and after["num_top_queries"] == spec.model.decoder.num_queries
    assert after["remap_mscoco_category"] == (spec.data.dataset == "coco")


@every_config
def test_schedule(name: str):
    recipe, facts = preset(name).recipe, official.CONFIGS[name]
    warmup, scheduler = facts["lr_warmup_scheduler"], facts["lr_scheduler"]
    assert (warmup or scheduler)["type"] in ("LinearWarmup", "MultiStepLR")
    theirs = {
        "epochs": facts["epochs"],
        "clip_max_norm": facts["clip_max_norm"],
        "warmup_steps": warmup["warmup_duration"] if warmup else 0,
        "milestones": tuple(scheduler["milestones"]),
        "gamma": scheduler["gamma"],
        "ema_decay": facts["ema"]["decay"],
        "ema_warmup_steps": facts["ema"]["warmups"],
        "tuning": facts["tuning"] or "",
    }
    same({field: getattr(recipe, field) for field in theirs}, theirs)


# Defaults of torchvision, which the official configs leave alone.
DEFAULT_PROBABILITY = 0.5
STRONG = ["RandomPhotometricDistort", "RandomZoomOut", "RandomIoUCrop"]
ORDER = [*STRONG, "SanitizeBoundingBox", "RandomHorizontalFlip", "Resize"]


@every_config
def test_data_and_augmentation(name: str):
    data, facts = preset(name).data, official.CONFIGS[name]
    policy = facts["policy"] or {"epoch": 0, "ops": STRONG}
    assert [op["type"].replace("Boxes", "Box") for op in facts["train_ops"]][:6] == ORDER
    assert policy["ops"] == STRONG, "only the flip is left after the stop"
    ops = {op["type"].replace("Boxes", "Box"): op for op in facts["train_ops"]}
    theirs = {
        "photometric_distort": ops["RandomPhotometricDistort"]["p"],
        "zoom_out": ops["RandomZoomOut"].get("p", DEFAULT_PROBABILITY),
        "iou_crop": ops["RandomIoUCrop"]["p"],
        "horizontal_flip": ops["RandomHorizontalFlip"].get("p", DEFAULT_PROBABILITY),
        "min_box_size": ops["SanitizeBoundingBox"]["min_size"],
        "strong_stop_epoch": policy["epoch"],
        "scales": facts["multi_scale"] or [],
        "scales_stop_epoch": facts["multi_scale_stop_epoch"] or 0,
    }
    assert ops["RandomZoomOut"]["fill"] == 0
    same(to_dict(data.augmentation), theirs)
    assert list(data.image_size) == ops["Resize"]["size"]
    assert data.dataset == {"CocoDetection": "coco", "VOCDetection": "voc"}[facts["dataset"]]
    assert data.batch_size == facts["batch_size"]


@every_config
def test_optimizer_groups(name: str):
    spec, groups = preset(name), official.CONFIGS[name]["optimizer_groups"]
    shapes = parameters.state_shapes(spec.model)
    members: list[dict[str, Shape]] = [{} for _ in spec.recipe.groups]
    for parameter in parameters.trainable_names(spec.model):
        members[spec.recipe.group_of(parameter)][parameter] = shapes[parameter]
    assert len(members) == len(groups)
    for ours, names, theirs in zip(spec.recipe.groups, members, groups, strict=True):
        wanted = (theirs["pattern"], theirs["lr"], theirs["weight_decay"])
        assert (ours.pattern or "<rest>", ours.lr, ours.weight_decay) == wanted
        assert (len(names), numbers(names)) == (theirs["n_tensors"], theirs["n_params"])
        assert names.keys() >= {*theirs["first"], *theirs["last"]}
        assert (list(spec.recipe.betas), spec.recipe.eps) == (theirs["betas"], theirs["eps"])


@every_config
def test_counts(name: str):
    model, facts = preset(name).model, official.CONFIGS[name]
    constants = numbers(constant_shapes(model, SIZE_HW))
    assert constants == sum(facts["constants"].values())
    ours = parameters.model_facts(model)
    assert ours.parameters == facts["parameters"]
    assert ours.with_running_statistics == facts["state_dict_total"] - constants
    assert ours.size(ours.trainable) == facts["trainable"]


@every_preset
def test_names_and_shapes_of_the_state(name: str):
    model = PRESETS[name].model
    state, constants = parameters.state_shapes(model), constant_shapes(model, SIZE_HW)
    assert not state.keys() & constants.keys()
    same(state | constants, official.state(name))


@every_preset
def test_names_and_shapes_of_what_the_torch_twin_builds(name: str):
    """On the meta device, where a tensor is its shape."""
    model = PRESETS[name].model
    with torch.device("meta"):
        built = TORCH.parameter_shapes(model)
    same({**built, **constant_shapes(model, SIZE_HW)}, official.state(name))


@pytest.fixture(scope="module")
def jittor() -> Iterator[Framework]:
    """The Jittor twin in a process of its own, whose memory is freed at the end."""
    with open_framework("jittor", timeout=900) as framework:
        yield framework


@every_preset
def test_names_and_shapes_of_what_the_jittor_twin_builds(name: str, jittor: Framework):
    model = PRESETS[name].model
    same({**jittor.parameter_shapes(model), **constant_shapes(model, SIZE_HW)}, official.state(name))


# Official modules that call their children where the twins' parent module does; the children are all compared.
LOOPS = r"decoder\.decoder|backbone\.stages\.\d\.blocks"
FUSED = r"encoder\.\w+_blocks\.\d\.bottlenecks\.\d\.conv"  # the twins keep the name conv1; the block is compared


def same_flops(name: str, form: str, ours: Mapping[str, int]) -> None:
    theirs = {
        path: n for path, n in official.flops(name)[form].items() if not re.fullmatch(f"{LOOPS}|{FUSED}", path)
    }
    same({path: ours.get(path) for path in theirs}, theirs)
    assert len(theirs) > 150


@every_preset
def test_flops_of_every_module(name: str):
    """Sizes of all feature maps, and so every stride, must be right for the numbers to be equal."""
    counted = flops.module_flops(PRESETS[name].model)
    same_flops(name, "train_form", counted)
    totals = official.CONFIGS[name]["flops_640"]
    assert counted[""] == totals["train_form"]
    assert flops_after_fusion(counted) == totals["deploy_form"]


@pytest.mark.parametrize("name", ["rtdetr_r18vd", "rtdetr_dla34", "rtdetrv2_r101vd", "rtdetrv2_hgnetv2_h"])
def test_flops_of_the_fused_model(name: str):
    """One preset for each width of the encoder: only its RepVGG blocks change."""
    counted = flops.module_flops(PRESETS[name].model, deployed=True)
    same_flops(name, "deploy_form", counted)
    assert counted[""] == official.CONFIGS[name]["flops_640"]["deploy_form"]


def test_constants_follow_the_image_size():
    model = PRESETS["rtdetrv2_r18vd"].model
    assert constant_shapes(model, (320, 480))["decoder.anchors"] == (1, 40 * 60 + 20 * 30 + 10 * 15, 4)
    assert constant_shapes(PRESETS["rtdetr_r18vd"].model, SIZE_HW) == {}
