"""Names in a file, canonical or Hugging Face's -> canonical names of a model."""

import json
import re
from functools import cache
from pathlib import Path

import numpy as np

from experiments.weight_files.computed_entries import split_constants
from frameworks.arrays import Arrays
from frameworks.config import ModelSpec
from frameworks.errors import UserError
from frameworks.hf_rtdetr.names import Rule, constants, hf_names, read_rules, to_hf, unsupported
from frameworks.state.parameters import state_shapes

_RENAMED = Path(__file__).with_name("hf_renamed.json")
_THEIRS = re.compile(r"(model\.(backbone\.model|encoder_input_proj|decoder_input_proj)|class_embed|bbox_embed)\.")


def is_hugging_face(arrays: Arrays) -> bool:
    """Whether the names are those of Hugging Face's RT-DETR."""
    return any(_THEIRS.match(name) for name in arrays)


def canonical_names(arrays: Arrays, spec: ModelSpec) -> Arrays:
    """The arrays under canonical names; what no name map covers keeps its name.

    Raises:
        UserError: Hugging Face's names, and Hugging Face has no such model, the weights are of version v1,
            or one tensor has two contents.
    """
    if not is_hugging_face(arrays):
        return arrays
    if reason := unsupported(spec):
        raise UserError(f"Hugging Face's RT-DETR cannot be this model: {reason}")
    rules = _rules()
    theirs = _under_one_name(arrays)
    ours: Arrays = {}
    for name in state_shapes(spec):
        targets = hf_names(name, rules)
        if all(target in theirs for target in targets):
            parts = [theirs.pop(target) for target in targets]
            ours[name] = parts[0] if len(parts) == 1 else np.concatenate(parts)
    computed = constants(spec).keys()
    if computed - theirs.keys():
        raise UserError(f"no {min(computed)}, which Hugging Face's RT-DETRv2 has: these are weights of version v1")
    return ours | {name: array for name, array in theirs.items() if name not in computed}


def hugging_face_state(weights: Arrays, spec: ModelSpec) -> Arrays:
    """Canonical weights under Hugging Face's names, with the entries that are computed there.

    Raises:
        UserError: Hugging Face has no such model.
    """
    if reason := unsupported(spec):
        raise UserError(f"Hugging Face's RT-DETR cannot be this model: {reason}; choose another format")
    own, _ = split_constants(weights)
    computed = {name: array.astype(np.float32) for name, array in constants(spec).items()}
    return to_hf(own, _rules()) | computed


@cache
def _rules() -> list[Rule]:
    return read_rules()


@cache
def _renamings() -> list[tuple[str, str]]:
    pairs = json.loads(_RENAMED.read_text(encoding="utf-8"))["renamed"]
    return [(pattern, replacement) for pattern, replacement in pairs]


def _renamed(name: str) -> str:
    for pattern, replacement in _renamings():
        name = re.sub(pattern, replacement, name)
    return name


def _under_one_name(arrays: Arrays) -> Arrays:
    """Present names only; two names of one tensor must agree."""
    found: Arrays = {}
    for name, array in arrays.items():
        new = _renamed(name)
        if new in found and not np.array_equal(found[new], array, equal_nan=True):
            raise UserError(f"{name} is a second name of {new} in Hugging Face's model, but holds other numbers")
        found[new] = array
    return found
