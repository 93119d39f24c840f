"""Presets under their official names. A new preset is one function here and one line in PRESETS."""

from frameworks.spec.backbones import PResNetSpec
from frameworks.spec.experiment import ExperimentSpec
from frameworks.spec.model import DecoderSpec, EncoderSpec, ModelSpec
from frameworks.spec.training import CriterionSpec, DataSpec, ParameterGroup, RecipeSpec
from frameworks.spec.validation import SpecError, nearest


def rtdetr_r18vd() -> ExperimentSpec:
    """Official config ``rtdetr_r18vd_6x_coco`` of rtdetr_pytorch (batch 4 on each of 4 GPUs)."""
    return ExperimentSpec(
        name="rtdetr_r18vd",
        model=ModelSpec(),
        criterion=CriterionSpec(),
        recipe=RecipeSpec(
            groups=(
                ParameterGroup(r"^(?=.*backbone)(?=.*norm).*$", lr=1e-5, weight_decay=0.0),
                ParameterGroup(r"^(?=.*backbone)(?!.*norm).*$", lr=1e-5, weight_decay=1e-4),
                ParameterGroup(r"^(?=.*(?:encoder|decoder))(?=.*(?:norm|bias)).*$", lr=1e-4, weight_decay=0.0),
                ParameterGroup(r"", lr=1e-4, weight_decay=1e-4),
            )
        ),
        data=DataSpec(),
    )


def tiny() -> ExperimentSpec:
    """Every part of the model at a width that a test can afford; no official counterpart."""
    official = rtdetr_r18vd()
    return ExperimentSpec(
        name="tiny",
        model=ModelSpec(
            num_classes=80,
            backbone=PResNetSpec(blocks=(1, 1, 1, 2), stem_channels=(8, 8, 12), stage_channels=(12, 16, 24, 32)),
            encoder=EncoderSpec(hidden_dim=32, nhead=4, dim_feedforward=48, depth_mult=0.4),
            decoder=DecoderSpec(num_queries=20, num_layers=2, nhead=4, dim_feedforward=48, num_denoising=10),
        ),
        criterion=official.criterion,
        recipe=official.recipe,
        data=DataSpec(image_size=(96, 96), batch_size=2),
    )


PRESETS = {"rtdetr_r18vd": rtdetr_r18vd, "tiny": tiny}


def preset(name: str) -> ExperimentSpec:
    """The preset of that name.

    Raises:
        SpecError: unknown name, with the nearest known one.
    """
    if name not in PRESETS:
        known = ", ".join(PRESETS)
        raise SpecError(f"unknown preset {name!r}; known presets: {known}.{nearest(name, PRESETS)}")
    return PRESETS[name]()
