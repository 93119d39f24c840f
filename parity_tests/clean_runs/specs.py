"""Random valid specs, drawn by Hypothesis: small models of every family, matcher, loss and version."""

import functools
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, Phase, given, reject, seed, settings
from hypothesis import strategies as st

from frameworks.config import (
    BackboneSpec,
    CriterionSpec,
    DecoderSpec,
    DLASpec,
    EncoderSpec,
    ExperimentSpec,
    HGNetv2Spec,
    HGStageSpec,
    MatcherSpec,
    ModelSpec,
    PResNetSpec,
    RegNetSpec,
    SpecError,
    preset,
)

CHECKS: list[Any] = list(HealthCheck)  # none of them is of use where nothing is tested
WIDTHS = st.sampled_from((6, 8, 12, 16))
ONE_OR_TWO = st.integers(1, 2)
EXPONENTS = st.sampled_from((1.5, 2.0))
WEIGHTS = st.sampled_from((0.5, 1.0, 2.0, 5.0))


@functools.cache
def structure(number: int) -> ExperimentSpec:
    """A random spec, the same for one number and one version of Hypothesis."""
    found: list[ExperimentSpec] = []

    @seed(number)
    @settings(max_examples=6, phases=[Phase.generate], database=None, deadline=None, suppress_health_check=CHECKS)
    @given(specs())
    def collect(spec: ExperimentSpec) -> None:
        found.append(spec)

    collect()
    return replace(found[-1], name=f"structure {number}")  # the first examples are simpler than most


@st.composite
def specs(draw: st.DrawFn) -> ExperimentSpec:
    """A small spec with random fields; combinations that no spec allows are rejected by the specs themselves."""
    base = preset("tiny")
    version = draw(st.sampled_from(("v1", "v2")))
    softmax = version == "v1" and draw(st.booleans()) and draw(st.booleans())
    try:
        model = ModelSpec(
            version=version,
            num_classes=draw(st.sampled_from((2, 5, 11, 80))),
            backbone=(backbone := draw(backbones())),
            encoder=draw(encoders(len(backbone.return_idx))),
            decoder=draw(decoders(version, len(backbone.return_idx))),
        )
        return replace(base, name="drawn", model=model, criterion=draw(criteria(version, softmax)))
    except SpecError:
        reject()


@st.composite
def backbones(draw: st.DrawFn) -> BackboneSpec:
    """One of the four families, at most two blocks a stage."""
    shared: dict[str, Any] = {
        "return_idx": draw(st.sampled_from(((1, 2, 3), (1, 2, 3), (2, 3), (1, 2)))),
        "freeze_at": draw(st.sampled_from((-1, -1, 0, 1, 2))),
        "freeze_norm": draw(st.booleans()),
    }
    kind = draw(st.sampled_from(("presnet", "hgnetv2", "dla", "regnet")))
    if kind == "presnet":
        block = draw(st.sampled_from(("basic", "bottleneck")))
        blocks = tuple(draw(ONE_OR_TWO) for _ in range(4))
        channels = tuple(draw(WIDTHS) for _ in range(4))
        return PResNetSpec(block=block, blocks=blocks, stem_channels=(8, 8, 12), stage_channels=channels, **shared)
    if kind == "hgnetv2":
        stages = tuple(
            HGStageSpec(
                draw(WIDTHS),
                2 * draw(WIDTHS),
                blocks=draw(ONE_OR_TWO),
                downsample=number > 0,
                light=draw(st.booleans()),
                kernel=draw(st.sampled_from((3, 5))),
                layers=2,
            )
            for number in range(4)
        )
        return HGNetv2Spec(stem_channels=(8, 12), stages=stages, **shared)
    if kind == "dla":
        levels = (1, 1, *(draw(ONE_OR_TWO) for _ in range(4)))
        return DLASpec(levels=levels, channels=tuple(draw(WIDTHS) for _ in range(6)), **shared)
    depths, widths = (tuple(draw(each) for _ in range(4)) for each in (ONE_OR_TWO, st.sampled_from((8, 16, 24))))
    return RegNetSpec(stem_channels=8, depths=depths, widths=widths, group_width=8, **shared)


@st.composite
def encoders(draw: st.DrawFn, levels: int) -> EncoderSpec:
    """An encoder for so many levels of the pyramid."""
    return EncoderSpec(
        hidden_dim=draw(st.sampled_from((16, 32, 48))),
        use_encoder_idx=draw(st.sampled_from(((levels - 1,), (levels - 1,), (0, levels - 1), ()))),
        num_encoder_layers=draw(ONE_OR_TWO),
        nhead=draw(st.sampled_from((1, 2, 4))),
        dim_feedforward=48,
        enc_act=draw(st.sampled_from(("gelu", "relu"))),
        act=draw(st.sampled_from(("silu", "relu", "gelu"))),
        expansion=draw(st.sampled_from((0.5, 1.0))),
        depth_mult=draw(st.sampled_from((0.4, 0.7))),
        pe_temperature=draw(st.sampled_from((20.0, 10000.0))),
    )


@st.composite
def decoders(draw: st.DrawFn, version: str, levels: int) -> DecoderSpec:
    """A decoder for so many levels of the pyramid; with unequal points and discrete sampling in v2 alone."""
    points = [draw(st.integers(1, 4)) for _ in range(levels)]
    layers = draw(st.integers(1, 3))
    return DecoderSpec(
        hidden_dim=draw(st.sampled_from((16, 32))),
        num_queries=draw(st.sampled_from((4, 12, 20))),
        num_layers=layers,
        eval_idx=draw(st.integers(-1, layers - 1)),
        nhead=draw(st.sampled_from((1, 2, 4))),
        num_points=tuple(points if version == "v2" else points[:1] * levels),
        cross_attn_method=draw(st.sampled_from(("default", "default", "discrete")[: 3 if version == "v2" else 2])),
        dim_feedforward=48,
        activation=draw(st.sampled_from(("relu", "gelu", "silu"))),
        num_denoising=draw(st.sampled_from((0, 10, 100))),
        label_noise_ratio=draw(st.sampled_from((0.0, 0.5, 1.0))),
        box_noise_scale=draw(st.sampled_from((0.4, 1.0))),
        # No larger eps: invalid anchors all have one score, and among equal ones every choice of queries is right.
    )


@st.composite
def criteria(draw: st.DrawFn, version: str, softmax: bool) -> CriterionSpec:
    """Losses and matcher: softmax scores with cross-entropy, or sigmoid scores with any of the other losses."""
    sigmoid = [("vfl", "boxes"), ("focal", "boxes"), ("focal", "vfl", "boxes")]
    sigmoid += [("bce", "boxes")] if version == "v1" else []
    matcher = MatcherSpec(
        cost_class=draw(WEIGHTS),
        cost_bbox=draw(WEIGHTS),
        cost_giou=draw(WEIGHTS),
        gamma=draw(EXPONENTS),
        use_focal_loss=not softmax,
    )
    return CriterionSpec(
        losses=("labels", "boxes") if softmax else draw(st.sampled_from(sigmoid)),
        matcher=matcher,
        weight_bbox=draw(WEIGHTS),
        weight_giou=draw(WEIGHTS),
        weight_vfl=draw(WEIGHTS),
        alpha=draw(st.sampled_from((0.25, 0.75))),
        gamma=draw(EXPONENTS),
        aux_loss=draw(st.booleans()),
        eos_coef=draw(st.sampled_from((1e-4, 0.1))),
        boxes_weight_format=draw(st.sampled_from(("none", "iou", "giou"))) if version == "v2" else "none",
        share_matched_indices=version == "v2" and draw(st.booleans()),
    )
