"""Models under test with drawn weights and inputs, and their modules in data-flow order."""

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from frameworks.arrays import Arrays
from frameworks.config import (
    PRESETS,
    DLASpec,
    ExperimentSpec,
    HGNetv2Spec,
    HGStageSpec,
    MatcherSpec,
    ModelSpec,
    RegNetSpec,
    preset,
)
from frameworks.protocol import Case
from frameworks.shared import drawn_inputs
from frameworks.shared.noise import denoising_count
from frameworks.state.module_paths import module_paths
from frameworks.state.parameters import state_shapes, trainable_names


@dataclass(frozen=True)
class Subject:
    """A model under test: a spec, and the seed and sizes from which its weights and inputs are drawn.

    Seeds were chosen for wide gaps between encoder scores, so that rounding does not change the top-k choice.
    """

    name: str
    spec: ExperimentSpec
    seed: str
    size_hw: tuple[int, int]
    counts: tuple[int, ...] = drawn_inputs.TARGETS_PER_IMAGE
    lr_scale: float = 1.0  # of the k-step cases

    def weights(self) -> Arrays:
        """Drawn weights, read-only and cached: drawing those of r18vd takes 0.4 s."""
        return _weights(self.spec.model, self.seed)

    def images(self) -> Arrays:
        """``images`` [B, 3, H, W] in [0, 1)."""
        return {"images": drawn_inputs.images(len(self.counts), *self.size_hw, self.seed)}

    def training_inputs(self) -> Arrays:
        """Images, targets and, where denoising is on, noise."""
        batch, classes = len(self.counts), self.spec.model.num_classes
        inputs = self.images() | drawn_inputs.targets(self.seed, self.counts, self.spec.object_classes)
        count = denoising_count(self.spec.model, np.asarray(self.counts))
        return inputs | (drawn_inputs.noise(batch, count, self.seed, classes) if count else {})


def training_case(subject: Subject) -> Case:
    """A training pass, forward and backward, with captures of every module."""
    return Case("loss", subject.spec, training=True, capture=tuple(module_paths(subject.spec.model)))


def steps_case(subject: Subject, count: int) -> Case:
    """``count`` whole training steps; several ones have the subject's smaller learning rate."""
    scale = subject.lr_scale if count > 1 else 1.0
    return Case("steps", subject.spec, training=True, steps=count, lr_scale=scale)


def given_gradients(subject: Subject, count: int) -> Arrays:
    """Gradients for ``count`` optimizer steps: uniform in [-1e-3, 1e-3), as in the oracle's case ``optim``."""
    shapes = state_shapes(subject.spec.model)
    gradients: Arrays = {}
    for step in range(count):
        for name in trainable_names(subject.spec.model):
            drawn = drawn_inputs.uniform(f"grad.{step}.{name}", shapes[name], subject.seed)
            gradients[f"gradient/{step}/{name}"] = (1e-3 * (2 * drawn - 1)).astype(np.float32)
    return gradients


def in_zoo(*values: object) -> Any:
    """Parameters of a test that only the session ``parity_zoo`` runs, because they take minutes."""
    return pytest.param(*values, marks=pytest.mark.zoo)


@functools.lru_cache(maxsize=2)
def _weights(model: ModelSpec, seed: str) -> Arrays:
    arrays = drawn_inputs.weights(state_shapes(model), seed)
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


def bottleneck_variant() -> ExperimentSpec:
    """A model for the branches that ``tiny`` does not take: bottlenecks, frozen stem and norms, early exit,
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


def hgnetv2_variant() -> ExperimentSpec:
    """RT-DETRv2 on HGNetv2: both kinds of HG stages, a block with identity, unequal numbers of points, an encoder
    wider than the decoder."""
    spec = preset("tiny")
    stages = (
        HGStageSpec(8, 16, blocks=1, downsample=False, light=False, kernel=3, layers=2),
        HGStageSpec(12, 24, blocks=2, downsample=True, light=False, kernel=3, layers=2),
        HGStageSpec(12, 32, blocks=1, downsample=True, light=True, kernel=5, layers=3),
        HGStageSpec(16, 32, blocks=2, downsample=True, light=True, kernel=5, layers=2),
    )
    backbone = HGNetv2Spec(stem_channels=(8, 12), stages=stages, freeze_norm=False)
    encoder = replace(spec.model.encoder, hidden_dim=48)
    decoder = replace(spec.model.decoder, num_points=(4, 2, 3))
    model = replace(spec.model, version="v2", num_classes=11, backbone=backbone, encoder=encoder, decoder=decoder)
    return replace(spec, name="tiny_hgnetv2", model=model)


def dla_variant() -> ExperimentSpec:
    """RT-DETRv2 with discrete sampling on DLA, the first two stages frozen."""
    spec = preset("tiny")
    backbone = DLASpec(channels=(6, 8, 12, 16, 24, 32), freeze_at=1)
    decoder = replace(spec.model.decoder, cross_attn_method="discrete")
    model = replace(spec.model, version="v2", backbone=backbone, decoder=decoder)
    return replace(spec, name="tiny_dla", model=model)


def regnet_variant() -> ExperimentSpec:
    """RT-DETR on RegNetY: grouped convolutions, squeeze and excitation."""
    spec = preset("tiny")
    backbone = RegNetSpec(stem_channels=8, depths=(1, 2, 1, 1), widths=(16, 24, 32, 40), group_width=8)
    return replace(spec, name="tiny_regnet", model=replace(spec.model, backbone=backbone))


# Seeds of the oracle's cases, square and rectangular (docs/proof.md, "The oracle").
ORACLE_SEEDS = {
    "rtdetr_r18vd": ("rtdetr-golden-14", "rtdetr-golden-1"),
    "rtdetr_r50vd": ("rtdetr-golden-12", "rtdetr-golden-35"),
    "rtdetrv2_r18vd": ("rtdetr-golden-3", "rtdetr-golden-1"),
    "rtdetrv2_hgnetv2_l": ("rtdetr-golden-13", "rtdetr-golden-5"),
}
TINY = {
    "tiny": (lambda: preset("tiny"), "twin-detr-1", (96, 128), (5, 3)),
    "tiny_bottleneck": (bottleneck_variant, "twin-detr-3", (64, 96), (4, 0)),
    "tiny_hgnetv2": (hgnetv2_variant, "twin-detr-1", (96, 128), (5, 3)),
    "tiny_dla": (dla_variant, "twin-detr-1", (96, 128), (5, 3)),
    "tiny_regnet": (regnet_variant, "twin-detr-1", (96, 128), (5, 3)),
}


# Losses that no preset has: the model that gets them, and what they change.
LOSSES: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny_sigmoid": (
        "tiny",
        {
            "losses": ("bce", "focal", "vfl", "boxes"),
            "weight_bce": 0.5,
            "weight_focal": 3.0,
            "alpha": 0.3,
            "gamma": 1.7,
        },
    ),
    "tiny_softmax": (
        "tiny",
        {
            "losses": ("labels", "boxes"),
            "matcher": MatcherSpec(use_focal_loss=False),
            "weight_ce": 3.0,
            "eos_coef": 0.1,
        },
    ),
    "tiny_iou": ("tiny_hgnetv2", {"losses": ("focal", "vfl", "boxes"), "boxes_weight_format": "iou"}),
    "tiny_giou": ("tiny_hgnetv2", {"boxes_weight_format": "giou", "share_matched_indices": True}),
}

# The subjects of every kind of test in the fast session, and those that only the zoo's session adds.
FAST = ("tiny", "tiny_bottleneck", "tiny_hgnetv2", "rtdetr_r18vd")
SUBJECTS = [*FAST, *(in_zoo(name) for name in TINY if name not in FAST)]
OFFICIAL = tuple(name for name in PRESETS if name != "tiny")


@functools.cache
def subject(name: str) -> Subject:
    """A subject by name: a tiny one, one with other losses, or a preset with the oracle's inputs.

    ``PRESET`` has the oracle's square images, ``PRESET_rect`` its rectangular ones, ``PRESET_plain`` no denoising.
    """
    if name in TINY:
        spec, seed, size_hw, counts = TINY[name]
        return Subject(name, spec(), seed, size_hw, counts)
    if name in LOSSES:
        base, changes = LOSSES[name]
        like = subject(base)
        criterion = replace(like.spec.criterion, **changes)
        return replace(like, name=name, spec=replace(like.spec, name=name, criterion=criterion))
    official = name.removesuffix("_rect").removesuffix("_plain")
    spec = preset(official)
    square, rectangular = ORACLE_SEEDS[official]
    if name.endswith("_rect"):
        return Subject(name, spec, rectangular, (96, 416))
    # Five steps at the official rate diverge even in float64, so the oracle takes a hundredth of it.
    spec = without_denoising(spec) if name.endswith("_plain") else spec
    return Subject(name, spec, square, (192, 192), lr_scale=0.01)


@functools.cache
def zoo_subject(name: str) -> Subject:
    """Any preset on the smallest square images that have more tokens than queries (336 for 300)."""
    return Subject(name, preset(name), "twin-detr-1", (128, 128))
