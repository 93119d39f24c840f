"""The committed table of presets is the one that the present code makes."""

import json

import pytest

from frameworks.config import ALIASES, PRESETS
from frameworks.tests.flops import flops_after_fusion
from frameworks.torch_rtdetr.flops import module_flops
from reports.zoo import FLOPS, PAGE, PUBLISHED, zoo_page


def test_the_committed_page_is_what_the_generator_makes():
    assert PAGE.read_text(encoding="utf-8") == zoo_page(), "run python -m reports.zoo and commit reports/zoo.md"


def test_every_official_preset_has_a_row():
    rows = [line.split("|")[1].strip(" `") for line in zoo_page().splitlines() if line.startswith("| `")]
    assert rows == [name for name in PRESETS if name != "tiny"]


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "tiny"])
def test_operations_are_those_of_the_model(name):
    counted = module_flops(PRESETS[name].model)
    expected = {"flops": counted[""], "flops_fused": flops_after_fusion(counted)}
    assert json.loads(FLOPS.read_text(encoding="utf-8"))[name] == expected


def test_every_alias_is_listed_with_its_preset():
    for name, spec in ALIASES.items():
        line = next(line for line in zoo_page().splitlines() if line.startswith(f"- `{name}`"))
        assert PRESETS[line.split("`")[3]].model == spec.model


def test_published_numbers_say_where_they_come_from():
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    assert "068dfde" in published["source"] and "not measured here" in published["source"]
    assert published["source"] in zoo_page()
    for name, facts in published["presets"].items():
        assert (facts["ap"] is None) == (PRESETS[name].data.dataset != "coco")
