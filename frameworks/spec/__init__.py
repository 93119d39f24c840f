"""The one description of model, loss, recipe and data. Imports neither torch nor jittor."""

from frameworks.spec.experiment import ExperimentSpec, from_dict, spec_hash, to_dict
from frameworks.spec.model import BackboneSpec, DecoderSpec, EncoderSpec, ModelSpec
from frameworks.spec.presets import PRESETS, preset
from frameworks.spec.training import CriterionSpec, DataSpec, MatcherSpec, ParameterGroup, RecipeSpec
from frameworks.spec.validation import SpecError

__all__ = [
    "PRESETS",
    "BackboneSpec",
    "CriterionSpec",
    "DataSpec",
    "DecoderSpec",
    "EncoderSpec",
    "ExperimentSpec",
    "MatcherSpec",
    "ModelSpec",
    "ParameterGroup",
    "RecipeSpec",
    "SpecError",
    "from_dict",
    "preset",
    "spec_hash",
    "to_dict",
]
