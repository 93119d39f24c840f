"""Presets by name: the official ones, and ``tiny``. A new preset is one value and its place in a list."""

from frameworks.config.backbones import PResNetSpec
from frameworks.config.experiment import ExperimentSpec
from frameworks.config.model import DecoderSpec, EncoderSpec, ModelSpec
from frameworks.config.presets.v1 import RTDETR_R18VD, V1_PRESETS
from frameworks.config.presets.v2 import V2_PRESETS
from frameworks.config.training import DataSpec
from frameworks.config.validation import SpecError, nearest

# Every part of the model at a width that a test can afford; no official counterpart.
TINY = ExperimentSpec(
    name="tiny",
    model=ModelSpec(
        num_classes=80,
        backbone=PResNetSpec(blocks=(1, 1, 1, 2), stem_channels=(8, 8, 12), stage_channels=(12, 16, 24, 32)),
        encoder=EncoderSpec(hidden_dim=32, nhead=4, dim_feedforward=48, depth_mult=0.4),
        decoder=DecoderSpec(
            hidden_dim=32, num_queries=20, num_layers=2, nhead=4, dim_feedforward=48, num_denoising=10
        ),
    ),
    criterion=RTDETR_R18VD.criterion,
    recipe=RTDETR_R18VD.recipe,
    data=DataSpec(image_size=(96, 96), batch_size=2),
)

PRESETS = {spec.name: spec for spec in (*V1_PRESETS, *V2_PRESETS, TINY)}


def preset(name: str) -> ExperimentSpec:
    """The preset of that name.

    Raises:
        SpecError: unknown name, with the nearest known one.
    """
    if name not in PRESETS:
        known = ", ".join(PRESETS)
        raise SpecError(f"unknown preset {name!r}; known presets: {known}.{nearest(name, PRESETS)}")
    return PRESETS[name]
