"""The order of modules in reports is the order in which the judge walks through a model."""

import random

import pytest

from frameworks.config import PRESETS, preset
from frameworks.shared.stages import module_position
from frameworks.state.module_paths import module_paths
from parity_tests.cases import subjects

VARIANTS = (subjects.hgnetv2_variant, subjects.dla_variant, subjects.regnet_variant, subjects.bottleneck_variant)
SPECS = {spec.name: spec for spec in (*map(preset, PRESETS), *(variant() for variant in VARIANTS))}


@pytest.mark.parametrize("name", SPECS)
def test_modules_are_sorted_as_data_flows(name: str) -> None:
    paths = module_paths(SPECS[name].model)
    shuffled = random.Random(0).sample(paths, len(paths))
    assert sorted(shuffled, key=module_position) == paths
