"""Presets by name: the official ones, their aliases, and ``tiny`` for tests."""

from frameworks.config.backbones import PResNetSpec
from frameworks.config.experiment import ExperimentSpec
from frameworks.config.model import DecoderSpec, EncoderSpec, ModelSpec
from frameworks.config.presets.v1 import V1_PRESETS
from frameworks.config.presets.v2 import ALIASES, V2_PRESETS
from frameworks.config.training import DataSpec
from frameworks.config.validation import SpecError, nearest

# Every part of the model, small enough for tests; no official counterpart.
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
    criterion=V1_PRESETS["r18vd"].criterion,
    recipe=V1_PRESETS["r18vd"].recipe,
    data=DataSpec(image_size=(96, 96), batch_size=2),
)

PRESETS = {spec.name: spec for spec in (*V1_PRESETS.values(), *V2_PRESETS, TINY)}


def preset(name: str) -> ExperimentSpec:
    """The spec of a preset or of an alias.

    Raises:
        SpecError: unknown name, with the nearest known one.
    """
    specs = PRESETS | ALIASES
    if name not in specs:
        known = ", ".join(specs)
        raise SpecError(f"unknown preset {name!r}; known presets: {known}.{nearest(name, specs)}")
    return specs[name]
