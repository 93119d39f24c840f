"""What is asked of the twins: presets under test, inputs, and the modules in data-flow order."""

import functools
from dataclasses import dataclass, replace

import numpy as np

from frameworks.arrays import Arrays
from frameworks.noise import denoising_count
from frameworks.parameters import state_shapes
from frameworks.spec import ExperimentSpec, ModelSpec, preset
from parity_tests import recipe


@dataclass(frozen=True)
class Subject:
    """One model with the inputs it is asked about; seeds were chosen for wide gaps between encoder scores."""

    name: str
    spec: ExperimentSpec
    seed: str
    size_hw: tuple[int, int]
    counts: tuple[int, ...] = recipe.TARGETS_PER_IMAGE
    lr_scale: float = 1.0  # of the k-step cases

    def weights(self) -> Arrays:
        return recipe.weights(state_shapes(self.spec.model), self.seed)

    def images(self) -> Arrays:
        return {"images": recipe.images(len(self.counts), *self.size_hw, self.seed)}

    def training_inputs(self) -> Arrays:
        """Images, targets and, where denoising is on, noise."""
        batch, classes = len(self.counts), self.spec.model.num_classes
        inputs = self.images() | recipe.targets(self.seed, self.counts, classes)
        count = denoising_count(self.spec.model, np.asarray(self.counts))
        return inputs | (recipe.noise(batch, count, self.seed, classes) if count else {})


def bottleneck_variant() -> ExperimentSpec:
    """The branches of the spec that ``tiny`` does not take: bottlenecks, frozen stem and norms, early exit,
    no 1x1 after the CSP layers, another number of classes, ReLU in the encoder, two encoder layers."""
    spec = preset("tiny")
    model = spec.model
    return replace(
        spec,
        name="tiny_bottleneck",
        model=replace(
            model,
            num_classes=7,
            backbone=replace(model.backbone, block="bottleneck", freeze_at=1, freeze_norm=True),
            encoder=replace(model.encoder, expansion=1.0, num_encoder_layers=2, enc_act="relu", act="gelu"),
            decoder=replace(model.decoder, num_layers=3, eval_idx=0, activation="silu", num_points=(3, 3, 3)),
        ),
    )


def without_denoising(spec: ExperimentSpec) -> ExperimentSpec:
    """The oracle's cases ``train`` and ``train5`` have no denoising queries and no class embedding."""
    decoder = replace(spec.model.decoder, num_denoising=0)
    return replace(spec, model=replace(spec.model, decoder=decoder))


@functools.cache
def subject(name: str) -> Subject:
    """A subject by name; r18vd's are the oracle's own cases."""
    r18vd, golden = preset("rtdetr_r18vd"), "rtdetr-golden-14"
    subjects = {
        "tiny": Subject("tiny", preset("tiny"), "twin-detr-1", (96, 128)),
        "tiny_bottleneck": Subject("tiny_bottleneck", bottleneck_variant(), "twin-detr-3", (64, 96), (4, 0)),
        # More steps at the official rate are chaos even in float64, so the oracle takes a hundredth (RECIPE).
        "rtdetr_r18vd": Subject("rtdetr_r18vd", r18vd, golden, (192, 192), lr_scale=0.01),
        "rtdetr_r18vd_rect": Subject("rtdetr_r18vd_rect", r18vd, "rtdetr-golden-1", (96, 416)),
        "rtdetr_r18vd_plain": Subject("rtdetr_r18vd_plain", without_denoising(r18vd), golden, (192, 192)),
    }
    return subjects[name]


def module_paths(spec: ModelSpec) -> list[str]:
    """Modules in the order that data flows through them, under canonical names."""
    levels, layers = range(spec.num_levels), range(spec.decoder.num_layers)
    paths = ["backbone.conv1", *(f"backbone.res_layers.{i}" for i in range(4))]
    paths += [f"encoder.input_proj.{i}" for i in levels]
    for i in range(len(spec.encoder.use_encoder_idx)):
        paths += [f"encoder.encoder.{i}.layers.0.self_attn", f"encoder.encoder.{i}"]
    for i in range(spec.num_levels - 1):
        paths += [f"encoder.lateral_convs.{i}", f"encoder.fpn_blocks.{i}"]
    for i in range(spec.num_levels - 1):
        paths += [f"encoder.downsample_convs.{i}", f"encoder.pan_blocks.{i}"]
    paths += [f"decoder.input_proj.{i}" for i in levels]
    paths += ["decoder.enc_output", "decoder.enc_score_head", "decoder.enc_bbox_head", "decoder.query_pos_head"]
    for i in layers:
        layer = f"decoder.decoder.layers.{i}"
        paths += [f"{layer}.self_attn", f"{layer}.cross_attn", layer]
        paths += [f"decoder.dec_score_head.{i}", f"decoder.dec_bbox_head.{i}"]
    return paths
