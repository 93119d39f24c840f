"""Models under test for the comparison with Hugging Face's implementation, and the arrays that both can record."""

import functools
from dataclasses import replace
from typing import Any

from frameworks.config import ExperimentSpec, ModelSpec, PResNetSpec, preset
from parity_tests.cases import subjects
from parity_tests.cases.subjects import Subject

SEED = "twin-detr-hf-1"


def expressible(spec: ExperimentSpec, version: str, **decoder: Any) -> ExperimentSpec:
    """A small spec in the widths and depths that Hugging Face's configuration can represent."""
    model, backbone = spec.model, spec.model.backbone
    if isinstance(backbone, PResNetSpec):
        backbone = replace(backbone, stem_channels=(6, 6, 12))
    model = replace(
        model,
        version=version,
        backbone=backbone,
        encoder=replace(model.encoder, depth_mult=1.0),
        decoder=replace(model.decoder, **decoder),
    )
    return replace(spec, model=model)


@functools.cache
def hf_subject(name: str) -> Subject:
    """A subject that both implementations can build; square inputs only (96 pixels: 189 tokens; 192: 756)."""
    if name == "rtdetr_r18vd":
        return subjects.subject(name)  # the oracle's own, so that its traces serve twice
    if not name.startswith("tiny"):
        return Subject(name, preset(name), SEED, (192, 192))
    tiny, bottleneck = preset("tiny"), subjects.bottleneck_variant()
    spec = {
        "tiny_v1": expressible(tiny, "v1"),
        "tiny_v1_one_layer": expressible(tiny, "v1", num_layers=1),
        "tiny_v2": expressible(tiny, "v2"),
        "tiny_v1_no_objects": expressible(tiny, "v1"),
        "tiny_v2_no_objects": expressible(tiny, "v2"),
        "tiny_v2_bottleneck": expressible(bottleneck, "v2"),  # exit after the first of three layers
        "tiny_v2_discrete": expressible(tiny, "v2", cross_attn_method="discrete"),
        "tiny_v2_hgnetv2": expressible(subjects.hgnetv2_variant(), "v2", num_points=(2, 2, 2)),
    }[name]
    counts = (4, 0) if name == "tiny_v2_bottleneck" else (0, 0) if name.endswith("no_objects") else (5, 3)
    return Subject(name, spec, SEED, (96, 96), counts)


def captured_by_both(spec: ModelSpec) -> tuple[str, ...]:
    """Stages of the backbone, the attention of the encoder, its maps, and every decoder layer."""
    levels = range(spec.num_levels)
    stages = "res_layers" if spec.backbone.kind == "presnet" else "stages"
    paths = [f"backbone.{stages}.{i}" for i in spec.backbone.return_idx]
    paths += [f"encoder.encoder.{i}" for i in range(len(spec.encoder.use_encoder_idx))]
    paths += [f"encoder.fpn_blocks.{levels[-2]}", *(f"encoder.pan_blocks.{i}" for i in levels[:-1])]
    paths += [f"decoder.input_proj.{i}" for i in levels] + ["decoder.enc_output"]
    return (*paths, *(f"decoder.decoder.layers.{i}" for i in range(spec.decoder.eval_layer + 1)))


def untouched_by_look_forward_twice(spec: ModelSpec) -> tuple[str, ...]:
    """Prefixes of the parameters without a gradient from the box loss of a later layer; with one layer, of all."""
    last = spec.decoder.num_layers - 1
    if last == 0:
        return ("",)
    heads = ("decoder.enc_", "decoder.dec_score_head.", f"decoder.dec_bbox_head.{last}.")
    return (*heads, f"decoder.decoder.layers.{last}.")
