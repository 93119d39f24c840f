"""Specs: dataclasses that describe model, losses, recipe and data for every framework; presets and YAML files."""

from frameworks.config.backbones import (
    BackboneSpec,
    DLASpec,
    HGNetv2Spec,
    HGStageSpec,
    PResNetSpec,
    RegNetSpec,
)
from frameworks.config.experiment import ExperimentSpec
from frameworks.config.loading import load_spec, load_with_account
from frameworks.config.model import DecoderSpec, EncoderSpec, ModelSpec
from frameworks.config.official.config import LoadedSpec, load_official
from frameworks.config.official.section import LeftAside
from frameworks.config.presets import ALIASES, PRESETS, preset
from frameworks.config.serialization import added, from_dict, spec_hash, to_dict
from frameworks.config.training import (
    AugmentationSpec,
    CriterionSpec,
    DataSpec,
    MatcherSpec,
    ParameterGroup,
    RecipeSpec,
)
from frameworks.config.validation import SpecError
from frameworks.config.yaml.files import dump_changes, dump_yaml, load_yaml

__all__ = [
    "ALIASES",
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
    "LeftAside",
    "LoadedSpec",
    "MatcherSpec",
    "ModelSpec",
    "PResNetSpec",
    "ParameterGroup",
    "RecipeSpec",
    "RegNetSpec",
    "SpecError",
    "added",
    "dump_changes",
    "dump_yaml",
    "from_dict",
    "load_official",
    "load_spec",
    "load_with_account",
    "load_yaml",
    "preset",
    "spec_hash",
    "to_dict",
]
