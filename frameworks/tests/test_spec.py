"""Specs are frozen, refuse wrong values and types, and name the field. Their hash: test_spec_hash.py."""

import dataclasses
import subprocess
import sys
from typing import Any

import pytest

from frameworks.config import (
    PRESETS,
    AugmentationSpec,
    CriterionSpec,
    DataSpec,
    DecoderSpec,
    DLASpec,
    EncoderSpec,
    ExperimentSpec,
    HGNetv2Spec,
    HGStageSpec,
    ModelSpec,
    ParameterGroup,
    PResNetSpec,
    RecipeSpec,
    RegNetSpec,
    SpecError,
    from_dict,
    preset,
    spec_hash,
    to_dict,
)
from frameworks.workers.client import REPOSITORY

NEUTRAL = (
    "frameworks.config",
    "frameworks.state.parameters",
    "frameworks.state.initialisation",
    "frameworks.protocol",
    "frameworks.workers.client",
    "frameworks.workers.worker",
    "frameworks.shared.schedules",
    "frameworks.shared.noise",
    "frameworks.shared.hungarian",
    "experiments.data.batches",
)
IMPORT = """
import importlib, sys
asked = []
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "jittor", "jittor_utils"):
            asked.append(name)  # also where the importer would have coped
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
importlib.import_module(sys.argv[1])
sys.exit(f"asked for {asked}" if asked else 0)
"""


@pytest.mark.parametrize("module", NEUTRAL)
def test_neutral_module_needs_no_framework(module):
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, module], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", PRESETS)
def test_preset_carries_its_name_and_survives_a_round_trip(name):
    spec = preset(name)
    assert spec.name == name
    assert from_dict(ExperimentSpec, to_dict(spec)) == spec
    assert spec_hash(from_dict(ExperimentSpec, to_dict(spec))) == spec_hash(spec)


def test_spec_is_frozen():
    spec = preset("tiny")
    models = (spec.model, spec.model.backbone, spec.model.encoder, spec.model.decoder)
    training = (spec.criterion, spec.criterion.matcher, spec.recipe, spec.recipe.groups[0])
    for part in (spec, *models, *training, spec.data, spec.data.augmentation):
        field = dataclasses.fields(part)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, field, None)
    assert hash(spec) == hash(preset("tiny"))


GROUP = ParameterGroup("", lr=1e-4, weight_decay=0.0)
BACKBONES = (PResNetSpec, HGNetv2Spec, DLASpec, RegNetSpec)
REQUIRED: dict[type, dict[str, Any]] = {
    RecipeSpec: {"groups": (GROUP,)},
    HGStageSpec: dataclasses.asdict(HGNetv2Spec().stages[1]),
}
REFUSED: list[tuple[type, str, Any, str]] = [
    (PResNetSpec, "kind", "resnet", "'presnet'"),
    (PResNetSpec, "block", "wide", "'basic', 'bottleneck'"),
    (PResNetSpec, "blocks", (2, 2, 0, 2), "at least 1"),
    (PResNetSpec, "stem_channels", (32, 32), "3 widths"),
    (PResNetSpec, "stem_channels", (32, 0, 64), "at least 1"),
    (PResNetSpec, "stage_channels", (64, 128, 256, -1), "at least 1"),
    (PResNetSpec, "stage_channels", (64, 128), "4 widths"),
    *[(kind, "return_idx", (2, 1), "increasing") for kind in BACKBONES],
    *[(kind, "return_idx", (), "increasing") for kind in BACKBONES],
    *[(kind, "return_idx", (3, 4), "0 to 3") for kind in BACKBONES],
    *[(kind, "freeze_at", 5, "-1 (nothing) to 4") for kind in BACKBONES],
    (HGNetv2Spec, "kind", "presnet", "'hgnetv2'"),
    (HGNetv2Spec, "stem_channels", (33, 48), "an even first width"),
    (HGNetv2Spec, "stem_channels", (32, 32, 48), "2 widths"),
    (HGNetv2Spec, "stages", HGNetv2Spec().stages[:3], "4 stages"),
    (HGNetv2Spec, "stages", HGNetv2Spec().stages[::-1], "downsample false, true, true, true"),
    (HGStageSpec, "mid_channels", 0, "at least 1"),
    (HGStageSpec, "out_channels", 0, "at least 1"),
    (HGStageSpec, "blocks", 0, "at least 1"),
    (HGStageSpec, "layers", 0, "at least 1"),
    (HGStageSpec, "kernel", 4, "an odd size"),
    (DLASpec, "kind", "dla34", "'dla'"),
    (DLASpec, "levels", (1, 1, 1, 2, 2), "6 depths"),
    (DLASpec, "channels", (16, 32, 64, 128, 256, 0), "at least 1"),
    (RegNetSpec, "kind", "regnety", "'regnet'"),
    (RegNetSpec, "stem_channels", 2, "at least 3"),
    (RegNetSpec, "depths", (2, 6, 12), "4 counts"),
    (RegNetSpec, "widths", (128, 192, 512, 0), "at least 1"),
    (RegNetSpec, "widths", (128, 192, 512, 1000), "multiples of group_width 64"),
    (RegNetSpec, "group_width", 0, "at least 1"),
    (EncoderSpec, "hidden_dim", 30, "a multiple of 4"),
    (EncoderSpec, "nhead", 7, "a divisor of hidden_dim 256"),
    (EncoderSpec, "enc_act", "tanh", "'gelu', 'relu'"),
    (EncoderSpec, "act", "swish", "'silu', 'relu', 'gelu'"),
    (EncoderSpec, "expansion", 0.0, "(0, 1]"),
    (EncoderSpec, "expansion", 1e-3, "at least one channel"),
    (EncoderSpec, "pe_temperature", 0.0, "above 0"),
    (EncoderSpec, "depth_mult", 0.1, "round(3 * depth_mult) >= 1"),
    (EncoderSpec, "num_encoder_layers", 0, "at least 1"),
    (EncoderSpec, "dim_feedforward", 0, "at least 1"),
    (DecoderSpec, "num_queries", 0, "at least 1"),
    (DecoderSpec, "num_layers", 0, "at least 1"),
    (DecoderSpec, "eval_idx", 3, "a layer of the 3"),
    (DecoderSpec, "hidden_dim", 30, "a multiple of 4"),
    (DecoderSpec, "nhead", 3, "a divisor of hidden_dim 256"),
    (DecoderSpec, "nhead", 0, "a divisor of hidden_dim 256"),
    (DecoderSpec, "num_points", (), "one per level"),
    (DecoderSpec, "num_points", (4, 0, 4), "at least 1"),
    (DecoderSpec, "cross_attn_method", "nearest", "'default', 'discrete'"),
    (DecoderSpec, "dim_feedforward", 0, "at least 1"),
    (DecoderSpec, "activation", "mish", "'relu', 'gelu', 'silu'"),
    (DecoderSpec, "num_denoising", -1, "0 or more"),
    (DecoderSpec, "label_noise_ratio", 1.5, "[0, 1]"),
    (DecoderSpec, "eps", 0.5, "[0, 0.5)"),
    (DecoderSpec, "box_noise_scale", 0.0, "above 0"),
    (ModelSpec, "version", "v3", "'v1', 'v2'"),
    (ModelSpec, "num_classes", 0, "at least 1"),
    (CriterionSpec, "weight_giou", -1.0, "0 or more"),
    (CriterionSpec, "gamma", float("nan"), "0 or more"),
    (CriterionSpec, "weight_focal", -1.0, "0 or more"),
    (CriterionSpec, "eos_coef", 0.0, "above 0"),
    (CriterionSpec, "boxes_weight_format", "ciou", "'none', 'iou', 'giou'"),
    (CriterionSpec, "losses", (), "one or more of labels, bce, focal, vfl, boxes"),
    (CriterionSpec, "losses", ("vfl", "masks"), "one or more of labels, bce, focal, vfl, boxes"),
    (CriterionSpec, "losses", ("vfl", "vfl"), "each once"),
    (CriterionSpec, "losses", ("labels", "focal"), "no other classification loss"),
    (CriterionSpec, "losses", ("labels", "boxes"), "use_focal_loss false"),
    (RecipeSpec, "groups", (), "at least one group"),
    (RecipeSpec, "betas", (0.9, 1.0), "[0, 1)"),
    (RecipeSpec, "eps", 0.0, "above 0"),
    (RecipeSpec, "clip_max_norm", -0.1, "0 (off) or more"),
    (RecipeSpec, "warmup_steps", -1, "0 or more"),
    (RecipeSpec, "ema_decay", 1.0, "[0, 1)"),
    (RecipeSpec, "ema_warmup_steps", 0, "at least 1"),
    (RecipeSpec, "epochs", 0, "at least 1"),
    (DataSpec, "image_size", (640, 650), "multiples of 32"),
    (DataSpec, "image_size", (0, 640), "multiples of 32"),
    (DataSpec, "batch_size", 0, "at least 1"),
    (DataSpec, "dataset", "lvis", "'coco', 'voc'"),
    (AugmentationSpec, "photometric_distort", -0.5, "a probability"),
    (AugmentationSpec, "zoom_out", 1.5, "a probability"),
    (AugmentationSpec, "iou_crop", float("nan"), "a probability"),
    (AugmentationSpec, "horizontal_flip", 2.0, "a probability"),
    (AugmentationSpec, "min_box_size", -1.0, "0 or more pixels"),
    (AugmentationSpec, "strong_stop_epoch", -1, "0 (never) or more"),
    (AugmentationSpec, "scales", (640, 650), "multiples of 32"),
    (AugmentationSpec, "scales_stop_epoch", -1, "0 (never) or more"),
]


@pytest.mark.parametrize(("kind", "field", "value", "allowed"), REFUSED)
def test_refusal_names_field_value_and_what_is_allowed(kind, field, value, allowed):
    with pytest.raises(SpecError) as caught:
        kind(**(REQUIRED.get(kind, {}) | {field: value}))
    message = str(caught.value)
    assert message.startswith(f"{kind.__name__}.{field} is {value!r}; expected ")
    assert allowed in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"encoder": EncoderSpec(use_encoder_idx=(3,))}, "levels from 0 to 2"),
        ({"backbone": PResNetSpec(return_idx=(0, 2)), "encoder": EncoderSpec(use_encoder_idx=())}, "consecutive"),
        ({"version": "v2", "decoder": DecoderSpec(num_points=(4, 4))}, "3 counts, one for each level"),
        ({"decoder": DecoderSpec(num_points=(4, 4, 2))}, "equal counts (version v1)"),
        ({"decoder": DecoderSpec(cross_attn_method="discrete")}, "'default' (version v1)"),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(parts, message):
    with pytest.raises(SpecError) as caught:
        ModelSpec(**parts)
    assert message in str(caught.value)


def test_parameter_group_refuses_a_broken_pattern():
    with pytest.raises(SpecError, match=r"ParameterGroup.pattern is '\(';"):
        ParameterGroup("(", lr=1e-4, weight_decay=0.0)


def test_unmatched_parameter_is_refused():
    recipe = RecipeSpec(groups=(ParameterGroup("backbone", lr=1e-5, weight_decay=0.0),))
    with pytest.raises(SpecError, match=r"decoder\.bias"):
        recipe.group_of("decoder.bias")


def test_first_matching_group_wins():
    groups = (ParameterGroup("norm", 1.0, 0.0), ParameterGroup("backbone", 2.0, 0.0), ParameterGroup("", 3.0, 0.0))
    recipe = RecipeSpec(groups=groups)
    assert [recipe.group_of(n) for n in ("backbone.norm.bias", "backbone.conv.weight", "head.bias")] == [0, 1, 2]


def broken(path: str, value: Any) -> dict[str, Any]:
    """The tiny preset as plain data with one entry replaced, added, or (value is DROP) taken out."""
    values = to_dict(preset("tiny"))
    *parents, leaf = path.split(".")
    place = values
    for key in parents:
        place = place[key]
    if value is DROP:
        del place[leaf]
    else:
        place[leaf] = value
    return values


DROP = object()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "model.decoder.num_querys",
            300,
            "ExperimentSpec.model.decoder has no field 'num_querys'. Did you mean 'num_queries'?",
        ),
        ("modle", {}, "ExperimentSpec has no field 'modle'. Did you mean 'model'?"),
        ("model.decoder.zzzz", 1, "ExperimentSpec.model.decoder has no field 'zzzz'."),
        ("recipe.epochs", "12", "ExperimentSpec.recipe.epochs is '12'; expected int"),
        ("recipe.epochs", 12.0, "ExperimentSpec.recipe.epochs is 12.0; expected int"),
        ("recipe.epochs", True, "ExperimentSpec.recipe.epochs is True; expected int"),
        ("recipe.epochs", None, "ExperimentSpec.recipe.epochs is None; expected int"),
        ("recipe.gamma", "0.1", "ExperimentSpec.recipe.gamma is '0.1'; expected float"),
        ("recipe.gamma", True, "ExperimentSpec.recipe.gamma is True; expected float"),
        ("criterion.aux_loss", 1, "ExperimentSpec.criterion.aux_loss is 1; expected bool"),
        ("recipe.milestones", 30, "ExperimentSpec.recipe.milestones is 30; expected a list"),
        ("recipe.milestones", [30, "x"], "ExperimentSpec.recipe.milestones[1] is 'x'; expected int"),
        ("recipe.betas", [0.9], "ExperimentSpec.recipe.betas is [0.9]; expected 2 values"),
        ("model.encoder", 3, "ExperimentSpec.model.encoder is 3; expected a mapping of its fields"),
        (
            "model.backbone.kind",
            "regnett",
            "ExperimentSpec.model.backbone.kind is 'regnett'; expected one of "
            "'presnet', 'hgnetv2', 'dla', 'regnet'. Did you mean 'regnet'?",
        ),
        (
            "model.backbone.kind",
            DROP,
            "ExperimentSpec.model.backbone.kind is None; expected one of 'presnet', 'hgnetv2', 'dla', 'regnet'.",
        ),
        (
            "model.backbone",
            "dla",
            "ExperimentSpec.model.backbone is 'dla'; expected a mapping of its fields, kind among them",
        ),
        ("model.backbone.depths", [2, 6], "ExperimentSpec.model.backbone has no field 'depths'."),
        ("recipe.groups", DROP, "ExperimentSpec.recipe.groups is missing"),
        ("data", DROP, "ExperimentSpec.data is missing"),
    ],
)
def test_from_dict_names_the_place(path, value, message):
    with pytest.raises(SpecError) as caught:
        from_dict(ExperimentSpec, broken(path, value))
    assert str(caught.value) == message


def test_from_dict_refuses_a_key_that_is_no_string():
    with pytest.raises(SpecError, match="has no field 3"):
        from_dict(ExperimentSpec, to_dict(preset("tiny")) | {3: 1})  # pyright: ignore[reportArgumentType]


def test_from_dict_refuses_values_that_the_spec_refuses():
    with pytest.raises(SpecError, match=r"DataSpec\.batch_size is 0"):
        from_dict(ExperimentSpec, broken("data.batch_size", 0))


def test_defaults_may_be_left_out():
    assert from_dict(DecoderSpec, {"num_layers": 6}) == DecoderSpec(num_layers=6)


def test_unknown_preset_suggests_the_nearest():
    with pytest.raises(SpecError) as caught:
        preset("rtdetr_r18")
    assert "unknown preset 'rtdetr_r18'" in str(caught.value)
    assert "Did you mean 'rtdetr_r18vd'?" in str(caught.value)
    assert all(name in str(caught.value) for name in PRESETS)
