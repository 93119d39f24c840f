"""Recipes: partial specs in YAML, laid over a preset where the user says nothing.

``official`` changes nothing. The others are the files in this folder: an overlay has the fields of a spec and gives
only what it changes. Mappings are merged field by field and lists are replaced, as in files that inherit.
"""

from pathlib import Path
from typing import Any

from frameworks.config.experiment import ExperimentSpec
from frameworks.config.mappings import merged, read_mapping
from frameworks.config.serialization import from_dict, to_dict
from frameworks.config.spec_files import looks_like_a_file
from frameworks.config.validation import SpecError, nearest
from frameworks.files import user_path

OFFICIAL = "official"
RECIPES = (OFFICIAL, "quick", "scratch", "finetune", "overfit")


def load_recipe(name_or_path: str) -> dict[Any, Any]:
    """The overlay of a recipe's name, or of a YAML file in the same form.

    Raises:
        SpecError: no such recipe (with the nearest name), or a file that is no YAML mapping.
    """
    if name_or_path == OFFICIAL:
        return {}
    if name_or_path in RECIPES:
        return read_mapping(Path(__file__).parent / f"{name_or_path}.yml")
    path = user_path(name_or_path)
    if looks_like_a_file(name_or_path) or path.is_file():
        return read_mapping(path)
    known = ", ".join(RECIPES)
    raise SpecError(
        f"unknown recipe {name_or_path!r}; expected {known}, or a YAML file.{nearest(name_or_path, RECIPES)}"
    )


def with_recipe(spec: ExperimentSpec, overlay: dict[Any, Any], said: dict[Any, Any]) -> ExperimentSpec:
    """``spec`` with an overlay, except for what its own file says.

    Args:
        overlay: fields of a spec as plain data.
        said: what the spec's file says, as plain data; these values stay.

    Raises:
        SpecError: an unknown field (with the nearest one) or a wrong value.
    """
    return from_dict(ExperimentSpec, merged(merged(to_dict(spec), overlay), said))
