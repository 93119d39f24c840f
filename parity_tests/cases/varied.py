"""Small models in which the constants of the spec have other values than their defaults.

A twin that takes a default in place of the spec's value fails on one of them. ``test_spec_fields.py`` sees to it
that no field is missing here and in the other subjects.
"""

from dataclasses import replace

from frameworks.config import (
    CriterionSpec,
    DLASpec,
    ExperimentSpec,
    HGNetv2Spec,
    HGStageSpec,
    MatcherSpec,
    ParameterGroup,
    PResNetSpec,
    RecipeSpec,
    RegNetSpec,
    preset,
)
from parity_tests.cases.subjects import Subject

MATCHER = MatcherSpec(cost_class=4.0, cost_bbox=1.0, cost_giou=0.5, alpha=0.6, gamma=0.5)
CRITERION = CriterionSpec(weight_vfl=1.5, weight_bbox=3.0, weight_giou=1.0, alpha=0.6, gamma=1.3, matcher=MATCHER)
GROUPS = (ParameterGroup("backbone", lr=2e-4, weight_decay=0.2), ParameterGroup("", lr=1e-3, weight_decay=0.1))
RECIPE = RecipeSpec(
    groups=GROUPS,
    betas=(0.8, 0.95),
    eps=1e-4,
    clip_max_norm=0.5,
    warmup_steps=3,
    milestones=(0,),
    gamma=0.5,
    ema_decay=0.9,
    ema_warmup_steps=5,
)


def presnet() -> ExperimentSpec:
    """RT-DETR on two levels with softmax scores, without losses of the earlier layers."""
    spec = preset("tiny")
    backbone = PResNetSpec(
        blocks=(1, 1, 1, 1), stem_channels=(8, 8, 12), stage_channels=(12, 16, 24, 32), return_idx=(2, 3)
    )
    encoder = replace(spec.model.encoder, use_encoder_idx=(0, 1), pe_temperature=20.0)
    decoder = replace(spec.model.decoder, num_points=(2, 2), label_noise_ratio=0.9, box_noise_scale=0.6, eps=0.045)
    criterion = replace(CRITERION, aux_loss=False, matcher=replace(MATCHER, use_focal_loss=False))
    model = replace(spec.model, num_classes=9, backbone=backbone, encoder=encoder, decoder=decoder)
    return replace(spec, model=model, criterion=criterion, recipe=RECIPE)


def hgnetv2() -> ExperimentSpec:
    """RT-DETRv2 on two levels of HGNetv2 without anything frozen."""
    spec = preset("tiny")
    stages = (
        HGStageSpec(8, 12, blocks=1, downsample=False, light=False, kernel=3, layers=1),
        HGStageSpec(8, 16, blocks=1, downsample=True, light=True, kernel=3, layers=1),
        HGStageSpec(8, 16, blocks=1, downsample=True, light=False, kernel=3, layers=1),
        HGStageSpec(8, 24, blocks=1, downsample=True, light=False, kernel=5, layers=1),
    )
    backbone = HGNetv2Spec(stem_channels=(8, 12), stages=stages, return_idx=(2, 3), freeze_at=-1, freeze_norm=False)
    encoder = replace(spec.model.encoder, use_encoder_idx=(1,))
    decoder = replace(spec.model.decoder, num_points=(2, 2))
    model = replace(spec.model, version="v2", backbone=backbone, encoder=encoder, decoder=decoder)
    return replace(spec, model=model, criterion=CRITERION, recipe=RECIPE)


def dla() -> ExperimentSpec:
    """RT-DETRv2 with discrete sampling on two levels of a frozen DLA."""
    spec = preset("tiny")
    backbone = DLASpec(
        levels=(1, 2, 1, 1, 2, 1), channels=(6, 8, 12, 16, 24, 32), return_idx=(2, 3), freeze_at=1, freeze_norm=True
    )
    encoder = replace(spec.model.encoder, use_encoder_idx=(1,))
    decoder = replace(spec.model.decoder, num_points=(3, 2), cross_attn_method="discrete")
    model = replace(spec.model, version="v2", backbone=backbone, encoder=encoder, decoder=decoder)
    criterion = replace(CRITERION, boxes_weight_format="giou", share_matched_indices=True)
    return replace(spec, model=model, criterion=criterion, recipe=RECIPE)


def regnet() -> ExperimentSpec:
    """RT-DETR on two levels of RegNetY with frozen norms, and two RepVGG blocks in a fusion block."""
    spec = preset("tiny")
    backbone = RegNetSpec(
        stem_channels=8,
        depths=(1, 2, 1, 1),
        widths=(16, 24, 32, 40),
        group_width=8,
        return_idx=(2, 3),
        freeze_at=1,
        freeze_norm=True,
    )
    encoder = replace(spec.model.encoder, use_encoder_idx=(1,), depth_mult=0.7)
    decoder = replace(spec.model.decoder, num_points=(2, 2))
    model = replace(spec.model, backbone=backbone, encoder=encoder, decoder=decoder)
    return replace(spec, model=model, criterion=CRITERION, recipe=RECIPE)


def varied(name: str) -> Subject:
    """The subject of a spec of this module by name, on images of 64 x 192 pixels.

    At this width the outermost columns of anchors are invalid with eps 0.045. With this seed none is selected:
    their scores are equal.
    """
    return Subject(name, replace(VARIED[name](), name=name), "varied-5", (64, 192), (4, 2))


VARIED = {"varied_presnet": presnet, "varied_hgnetv2": hgnetv2, "varied_dla": dla, "varied_regnet": regnet}
