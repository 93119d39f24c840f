"""The one description of model, loss, recipe and data. Imports neither torch nor jittor."""

from frameworks.spec.backbones import (
    BackboneSpec,
    DLASpec,
    HGNetv2Spec,
    HGStageSpec,
    PResNetSpec,
    RegNetSpec,
)
from frameworks.spec.experiment import ExperimentSpec, from_dict, spec_hash, to_dict
from frameworks.spec.model import DecoderSpec, EncoderSpec, ModelSpec
from frameworks.spec.presets import PRESETS, preset
from frameworks.spec.training import (
    AugmentationSpec,
    CriterionSpec,
    DataSpec,
    MatcherSpec,
    ParameterGroup,
    RecipeSpec,
)
from frameworks.spec.validation import SpecError

__all__ = [
    "PRESETS",
    "AugmentationSpec",
    "BackboneSpec",
    "CriterionSpec",
    "DLASpec",
    "DataSpec",
    "DecoderSpec",
    "EncoderSpec",
    "ExperimentSpec",
    "HGNetv2Spec",
    "HGStageSpec",
    "MatcherSpec",
    "ModelSpec",
    "PResNetSpec",
    "ParameterGroup",
    "RecipeSpec",
    "RegNetSpec",
    "SpecError",
    "from_dict",
    "preset",
    "spec_hash",
    "to_dict",
]
