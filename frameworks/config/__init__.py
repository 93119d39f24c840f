"""Specs: dataclasses that describe model, losses, recipe and data for every framework; presets and YAML files."""

# ruff: noqa: F401 - other packages import these names from here

from frameworks.config.backbones import BackboneSpec, DLASpec, HGNetv2Spec, HGStageSpec, PResNetSpec, RegNetSpec
from frameworks.config.experiment import ExperimentSpec
from frameworks.config.loading import load_spec, load_with_account, says_num_classes
from frameworks.config.model import DecoderSpec, EncoderSpec, ModelSpec
from frameworks.config.official.config import LoadedSpec, load_official
from frameworks.config.presets import ALIASES, PRESETS, preset
from frameworks.config.recipes import OFFICIAL, RECIPES, load_recipe, with_recipe
from frameworks.config.serialization import added, from_dict, spec_hash, to_dict
from frameworks.config.settings import with_settings
from frameworks.config.spec_files import dump_changes, dump_yaml, load_yaml
from frameworks.config.training import (
    LOSSES,
    AugmentationSpec,
    CriterionSpec,
    DataSpec,
    MatcherSpec,
    ParameterGroup,
    RecipeSpec,
)
from frameworks.config.validation import SpecError
