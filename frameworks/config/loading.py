"""Specs by what is given on a command line: a preset, an alias, or a YAML file of our own or the official form."""

from dataclasses import replace

from frameworks.config.experiment import ExperimentSpec
from frameworks.config.mappings import read_mapping
from frameworks.config.official.config import LoadedSpec, load_official
from frameworks.config.official.files import is_official, read_included
from frameworks.config.presets import ALIASES, PRESETS, preset
from frameworks.config.serialization import to_dict
from frameworks.config.spec_files import INHERIT, load_yaml, looks_like_a_file, said_in
from frameworks.files import user_path


def load_spec(name_or_path: str) -> ExperimentSpec:
    """The spec of a preset, of an alias, of a YAML file of our own form, or of an official one.

    Raises:
        SpecError: no such name or file (with the nearest name), or what is wrong with the file.
    """
    return load_with_account(name_or_path).spec


def load_with_account(name_or_path: str) -> LoadedSpec:
    """As ``load_spec``, with what a file says and the keys of an official file that are not in the spec."""
    if _is_name(name_or_path):
        return LoadedSpec(preset(name_or_path), base=name_or_path)
    path = user_path(name_or_path)
    values = read_mapping(path)
    if INHERIT not in values and is_official(values):
        loaded = load_official(path)
        return replace(loaded, said=to_dict(loaded.spec))
    spec = load_yaml(path)
    base, said = said_in(path)
    return LoadedSpec(spec, base=base, said=said)


def says_num_classes(name_or_path: str) -> bool:
    """Whether a file for ``load_spec``, or one that it builds on, gives ``num_classes``; a preset does not."""
    loaded = load_with_account(name_or_path)
    values = {} if loaded.base else read_mapping(user_path(name_or_path))
    if is_official(values):
        return "num_classes" in read_included(user_path(name_or_path))[0]
    return "num_classes" in loaded.said.get("model", {})


def _is_name(name_or_path: str) -> bool:
    """Whether this is the name of a preset or alias, or can only be meant as one."""
    is_file = looks_like_a_file(name_or_path) or user_path(name_or_path).is_file()
    return name_or_path in PRESETS | ALIASES or not is_file
