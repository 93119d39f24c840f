"""Convert the names in a file between Hugging Face's, old and new, and the canonical ones of a model."""

import json
import re
from collections.abc import Collection
from functools import cache
from pathlib import Path

import numpy as np

from experiments.weight_files.computed_entries import split_constants
from frameworks.arrays import Arrays
from frameworks.config import ModelSpec
from frameworks.errors import UserError
from frameworks.hf_rtdetr.names import constants, huggingface_names, to_huggingface, unsupported
from frameworks.state.parameters import state_shapes

_RENAMED = Path(__file__).with_name("huggingface_renamed.json")
_PARTS = ("backbone.", "backbone.model.", "encoder.")  # DLA and RegNet have one more level
# Wrappers that put a name before all names: Lightning, a dict of networks, averages.
_OUTER = ("model", "net", "network", "ema", "model_ema", "ema_model")
_WRAPPED = re.compile(
    r"model\.(encoder|decoder)\.input_proj\."
)  # canonical below model., which Hugging Face's are too
_BASE = re.compile(r"(encoder|decoder)_input_proj\.")  # RTDetrModel, of RTDetrForObjectDetection's ``model.``
_MARKS = re.compile(r"(model\.(backbone\.model|encoder_input_proj|decoder_input_proj)|class_embed|bbox_embed)\.")


def is_huggingface(arrays: Arrays) -> bool:
    """Whether the names are those of Hugging Face's RT-DETR."""
    return _is_huggingface(arrays)


def _is_huggingface(names: Collection[str]) -> bool:
    return any(map(_MARKS.match, names)) and not any(map(_WRAPPED.match, names))


def outer_prefix(arrays: Arrays) -> str:
    """What wrappers (``model.``, ``net.`` and the like, in any order) put before all names."""
    prefix, first = "", next(iter(arrays), "")
    while True:
        longer = f"{prefix}{first.removeprefix(prefix).partition('.')[0]}."
        inside = [name.removeprefix(prefix) for name in arrays]
        if _is_huggingface(inside) or longer.split(".")[-2] not in _OUTER:
            return prefix
        if not all(name.startswith(longer) for name in arrays):
            return prefix
        prefix = longer


def unwrapped(arrays: Arrays) -> Arrays:
    """Arrays without the ``outer_prefix`` of their names; Hugging Face's base model gets that of the whole one."""
    prefix = outer_prefix(arrays)
    inside = {name.removeprefix(prefix): array for name, array in arrays.items()} if prefix else arrays
    if any(map(_BASE.match, inside)):
        return {f"model.{name}": array for name, array in inside.items()}
    return inside


def canonical_names(arrays: Arrays, spec: ModelSpec) -> Arrays:
    """Rename arrays to canonical names, without wrappers; a name that is in no map stays.

    Raises:
        UserError: Hugging Face's names, and Hugging Face has no such model, the weights are of version v1,
            or two names of one tensor hold different numbers.
    """
    arrays = unwrapped(arrays)
    if not is_huggingface(arrays):
        return _of_parts(arrays, spec)
    if reason := unsupported(spec):
        raise UserError(f"Hugging Face's RT-DETR cannot represent this model: {reason}")
    left = _under_one_name(arrays)
    canonical: Arrays = {}
    for name in state_shapes(spec):
        targets = huggingface_names(name)
        if all(target in left for target in targets):
            parts = [left.pop(target) for target in targets]
            canonical[name] = parts[0] if len(parts) == 1 else np.concatenate(parts)
    computed = constants(spec).keys()
    if computed - left.keys():
        raise UserError(f"no {min(computed)}, which Hugging Face's RT-DETRv2 has: these are weights of version v1")
    return canonical | {name: array for name, array in left.items() if name not in computed}


def huggingface_state(weights: Arrays, spec: ModelSpec) -> Arrays:
    """Rename canonical weights to Hugging Face's names and add the entries that follow from its configuration.

    Raises:
        UserError: Hugging Face has no such model.
    """
    if reason := unsupported(spec):
        raise UserError(f"Hugging Face's RT-DETR cannot represent this model: {reason}; choose another format")
    own, _ = split_constants(weights)
    computed = {name: array.astype(np.float32) for name, array in constants(spec).items()}
    return to_huggingface(own) | computed


def _of_parts(arrays: Arrays, spec: ModelSpec) -> Arrays:
    """Put the part's name before names that lack it.

    Distillation writes the states of backbone and encoder as one, under names such as ``stem.stem1.conv.weight``.
    """
    shapes = state_shapes(spec)

    def placed(name: str) -> str:
        if name in shapes:
            return name
        return next((target for part in _PARTS if (target := part + name) in shapes and target not in arrays), name)

    return {placed(name): array for name, array in arrays.items()}


@cache
def _renamings() -> list[tuple[str, str]]:
    pairs = json.loads(_RENAMED.read_text(encoding="utf-8"))["renamed"]
    return [(pattern, replacement) for pattern, replacement in pairs]


def _renamed(name: str) -> str:
    for pattern, replacement in _renamings():
        name = re.sub(pattern, replacement, name)
    return name


def _under_one_name(arrays: Arrays) -> Arrays:
    """Old names become new ones; two names of one tensor must hold the same numbers."""
    found: Arrays = {}
    for name, array in arrays.items():
        new = _renamed(name)
        if new in found and not np.array_equal(found[new], array, equal_nan=True):
            raise UserError(f"{name} is a second name of {new} in Hugging Face's model, but holds other numbers")
        found[new] = array
    return found
