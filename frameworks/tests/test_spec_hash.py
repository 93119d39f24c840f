"""The hash of a spec depends on every field and on nothing else, and stays the same when fields are added."""

import contextlib
import dataclasses
import functools
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from frameworks.config import (
    ExperimentSpec,
    ParameterGroup,
    SpecError,
    added,
    from_dict,
    preset,
    spec_hash,
    to_dict,
)
from frameworks.workers.client import REPOSITORY


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of every leaf of nested plain data."""
    if isinstance(value, dict):
        return [leaf for key, child in value.items() for leaf in leaves(child, (*path, key))]
    if isinstance(value, list):
        return [leaf for key, child in enumerate(value) for leaf in leaves(child, (*path, key))]
    return [path]


def replaced(value: Any, path: tuple[Any, ...], leaf: Any) -> Any:
    """A copy of nested plain data with another leaf at ``path``."""
    if not path:
        return leaf
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], leaf)
    return copy


CHOICES = (
    *("bottleneck", "relu", "gelu", "v1", "v2", "default", "discrete", "coco", "voc"),
    *("focal", "iou", "adam", "cosine", "step"),
)


def others(value: Any) -> list[Any]:
    """Other values of the same type; one of them is valid for every field that can change alone."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, str):
        return [choice for choice in (value + "x", *CHOICES) if choice != value]
    return (
        [value + 1, value - 1, value * 2, value // 2, value + 32]
        if isinstance(value, int)
        else [value * 0.5 + 1e-6]
    )


def hash_of_another(plain: dict[str, Any], path: tuple[Any, ...], value: Any) -> str | None:
    """The hash of the spec with a valid other leaf at ``path``; None if no other value of it is valid."""
    for other in others(value):
        with contextlib.suppress(SpecError):
            return spec_hash(from_dict(ExperimentSpec, replaced(plain, path, other)))
    return None


# Stages are consecutive and points of v1 equal on all levels: no number of these lists can change alone.
LISTS = {("model", "backbone", "return_idx"): [0, 1, 2], ("model", "decoder", "num_points"): [2, 2, 2]}
# By other fields: the third to the fifth in v1, momentum by the optimizer, amp_dtype by amp (test_recipes.py and
# test_recipe.py change them together).
DECIDED = (
    *("kind", "downsample", "cross_attn_method", "boxes_weight_format", "share_matched_indices"),
    *("momentum", "nesterov", "amp_dtype"),
)
VARIETY = ("tiny", "rtdetr_dla34", "rtdetr_regnet", "rtdetrv2_hgnetv2_l", "rtdetrv2_r18vd_voc")


@pytest.mark.parametrize("name", VARIETY)
def test_hash_sees_every_field(name):
    plain = to_dict(preset(name))
    hashes: dict[tuple[Any, ...], str | None] = {(): spec_hash(preset(name))}
    for path in leaves(plain):
        hashes[path] = hash_of_another(plain, path, functools.reduce(lambda v, key: v[key], path, plain))
    for path, values in LISTS.items():
        hashes[path] = spec_hash(from_dict(ExperimentSpec, replaced(plain, path, values)))
    fixed = [path for path, found in hashes.items() if found is None]
    assert [path for path in fixed if path[-1] not in DECIDED and path[:-1] not in LISTS] == []
    given = [found for found in hashes.values() if found is not None]
    assert len(set(given)) == len(given) == len(leaves(plain)) + 1 + len(LISTS) - len(fixed)


def test_hash_covers_the_name_and_nothing_but_content():
    spec = preset("tiny")
    assert spec_hash(spec) == spec_hash(dataclasses.replace(spec))
    assert spec_hash(spec) != spec_hash(dataclasses.replace(spec, name="tiny2"))
    assert len(spec_hash(spec)) == 16 and int(spec_hash(spec), 16) >= 0


RECORDED = {  # of runs that exist: a folder whose spec has another hash cannot be resumed
    "tiny": "565a9b1e538ba50a",
    "rtdetr_r18vd": "df8aa1987d1a909e",
    "rtdetrv2_r18vd": "6dcd46dbcae9fdb3",
    "rtdetr_regnet": "80fafb85c54c5855",
    "rtdetrv2_hgnetv2_x": "0852deec3afa8376",
}


@pytest.mark.parametrize("name", RECORDED)
def test_hashes_stay_what_recorded_runs_say(name):
    assert spec_hash(preset(name)) == RECORDED[name]


@dataclass(frozen=True)
class Layer:
    width: int


@dataclass(frozen=True)
class LaterLayer:
    width: int
    scale: float = added(1.0)


@dataclass(frozen=True)
class Net:
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class LaterNet:
    layers: tuple[LaterLayer, ...]
    heads: tuple[int, ...] = added((8, 8))


def test_a_field_added_later_keeps_old_hashes_and_loads_old_data():
    old = Net((Layer(2), Layer(3)))
    later = from_dict(LaterNet, to_dict(old))
    assert later == LaterNet((LaterLayer(2), LaterLayer(3)))
    assert spec_hash(later) == spec_hash(old)
    assert from_dict(LaterNet, to_dict(later)) == later
    assert to_dict(later)["layers"][0] == {"width": 2, "scale": 1.0}, "what is written stays complete"
    whole = LaterNet((LaterLayer(2, scale=1), LaterLayer(3)))  # 1 == 1.0
    assert spec_hash(whole) == spec_hash(old)


def test_a_field_added_later_is_hashed_where_it_differs():
    specs = (
        LaterNet((LaterLayer(2), LaterLayer(3))),
        LaterNet((LaterLayer(2, scale=0.5), LaterLayer(3))),
        LaterNet((LaterLayer(2), LaterLayer(3, scale=0.5))),
        LaterNet((LaterLayer(2), LaterLayer(3)), heads=(8, 9)),
    )
    assert len({spec_hash(spec) for spec in specs}) == len(specs)


def test_equal_specs_have_equal_hashes():
    """1 == 1.0 in Python, and a YAML file may have ``lr: 0``."""
    whole = ParameterGroup("", lr=0, weight_decay=1)
    assert spec_hash(whole) == spec_hash(ParameterGroup("", lr=0.0, weight_decay=1.0))


@pytest.mark.parametrize("seed", ["0", "1"])
def test_hash_is_the_same_in_every_process(seed):
    code = "from frameworks.config import preset, spec_hash; print(spec_hash(preset('rtdetr_r18vd')))"
    command = [sys.executable, "-c", code]
    env = {"PYTHONHASHSEED": seed}
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60, env=env)
    assert done.stdout.strip() == spec_hash(preset("rtdetr_r18vd"))
