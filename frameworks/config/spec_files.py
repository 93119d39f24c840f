"""Reads and writes specs as YAML files of our own form, with the field names of the dataclasses.

A file is complete, or it has ``inherit: PRESET or other/file.yml`` and gives only what differs. Mappings are merged
field by field and lists are replaced; another ``kind`` of backbone replaces the whole backbone.
"""

from pathlib import Path
from typing import Any

from frameworks.config.experiment import ExperimentSpec
from frameworks.config.mappings import merged, read_mapping, write_mapping
from frameworks.config.official.files import is_official
from frameworks.config.presets import preset
from frameworks.config.serialization import from_dict, recorded, to_dict
from frameworks.config.validation import SpecError
from frameworks.files import user_path

INHERIT = "inherit"


def dump_yaml(spec: ExperimentSpec) -> str:
    """The complete spec as YAML text, fields in the order of their declaration; ``load_yaml`` reads it back."""
    return write_mapping(to_dict(spec))


def dump_changes(spec: ExperimentSpec, base: ExperimentSpec) -> str:
    """Only what differs from the preset ``base``, as YAML text that inherits from it and describes ``spec``."""
    return write_mapping({INHERIT: base.name} | _changes(to_dict(base), to_dict(spec)))


def load_yaml(path: str | Path) -> ExperimentSpec:
    """The spec that a YAML file of our own form describes.

    Raises:
        SpecError: a file that cannot be read or is not YAML, an unknown key (with the nearest valid one), a wrong
            type or value, a field that is missing where nothing is inherited, or files that inherit in a circle.
    """
    return _load(Path(path), ())


def said_in(path: Path) -> tuple[str, dict[Any, Any]]:
    """What a valid file of our own form says: the preset at the root, and all values that are not the preset's.

    Values of the files that it inherits from count too. The name of the preset is empty for complete files.
    """
    values = read_mapping(path)
    parent = values.pop(INHERIT, "")
    if not looks_like_a_file(parent):
        return parent, values
    root, said = said_in(path.parent / user_path(parent))
    return root, merged(said, values)


def _load(path: Path, children: tuple[Path, ...]) -> ExperimentSpec:
    chain = (*children, path)
    if path.resolve() in [child.resolve() for child in children]:
        raise SpecError(f"{children[0]} inherits from itself: {' -> '.join(map(str, chain))}")
    values = read_mapping(path)
    if INHERIT not in values:
        if children and is_official(values):
            raise SpecError(
                f"{children[-1]}: {INHERIT} names {path}, which has the official form; convert it first: "
                f"python experiments/spec.py show {path} > mine.yml"
            )
        return _spec(path, values, complete=True)
    parent = _parent(path, values.pop(INHERIT), chain)
    return _spec(path, merged(to_dict(parent), values), complete=False)


def _parent(path: Path, name: Any, chain: tuple[Path, ...]) -> ExperimentSpec:
    if not isinstance(name, str) or not name:
        raise SpecError(f"{path}: {INHERIT} is {name!r}; expected the name of a preset or of a YAML file")
    if not looks_like_a_file(name):
        try:
            return preset(name)
        except SpecError as error:
            raise SpecError(f"{path}: {INHERIT}: {error}") from None
    target = path.parent / user_path(name)
    if not target.is_file():
        raise SpecError(f"{path}: {INHERIT} names {name!r}, but there is no file {target}")
    return _load(target, chain)


def looks_like_a_file(name: str) -> bool:
    """Whether a name can only be that of a file: presets have neither a suffix nor a folder."""
    return name.endswith((".yml", ".yaml")) or "/" in name or "\\" in name


def _changes(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """The mapping that ``merged`` with ``base`` gives ``values``."""
    if values.get("kind") != base.get("kind"):
        return values
    return {
        key: _changes(base[key], value) if isinstance(value, dict) and isinstance(base[key], dict) else value
        for key, value in values.items()
        if value != base[key]
    }


def _spec(path: Path, values: dict[Any, Any], *, complete: bool) -> ExperimentSpec:
    try:
        spec = from_dict(ExperimentSpec, values)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None
    missing = _missing(values, recorded(spec), "") if complete else []
    if missing:
        # Filling the gap with a default would change results whenever the default changes.
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise SpecError(f"{path}: {missing[0]} is missing{more}; give it, or begin with `{INHERIT}: PRESET`")
    return spec


def _missing(given: Any, whole: Any, where: str) -> list[str]:
    """Dotted paths of the fields in ``whole`` that are not in ``given``."""
    if isinstance(whole, dict):
        found = [f"{where}{key}" for key in whole if key not in given]
        return found + [
            m for key in whole if key in given for m in _missing(given[key], whole[key], f"{where}{key}.")
        ]
    if isinstance(whole, list):
        pairs = enumerate(zip(given, whole, strict=True))
        return [m for i, pair in pairs for m in _missing(*pair, f"{where.removesuffix('.')}[{i}].")]
    return []
