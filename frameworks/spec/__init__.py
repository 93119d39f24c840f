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
from frameworks.spec.loading import LoadedSpec, load_spec, load_with_account
from frameworks.spec.model import DecoderSpec, EncoderSpec, ModelSpec
from frameworks.spec.official_section import LeftAside
from frameworks.spec.official_yaml import OfficialConfig, load_official
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
from frameworks.spec.yaml_files import dump_changes, dump_yaml, load_yaml

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
    "LeftAside",
    "LoadedSpec",
    "MatcherSpec",
    "ModelSpec",
    "OfficialConfig",
    "PResNetSpec",
    "ParameterGroup",
    "RecipeSpec",
    "RegNetSpec",
    "SpecError",
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
