"""A spec from what people write on a command line: the name of a preset, or a YAML file of either form."""

from dataclasses import dataclass
from pathlib import Path

from frameworks.config.experiment import ExperimentSpec
from frameworks.config.official.config import load_official
from frameworks.config.official.files import is_official
from frameworks.config.official.section import LeftAside
from frameworks.config.presets import ALIASES, PRESETS, preset
from frameworks.config.yaml.files import INHERIT, load_yaml, looks_like_a_file
from frameworks.config.yaml.reading import read_mapping


@dataclass(frozen=True)
class LoadedSpec:
    """A spec, and what of an official file it does not take over as it stands."""

    spec: ExperimentSpec
    left_aside: tuple[LeftAside, ...] = ()


def load_spec(name_or_path: str) -> ExperimentSpec:
    """The spec of a preset's name, of a YAML file of our own form, or of an official one.

    Raises:
        SpecError: neither a preset nor a file (with the nearest preset), or whatever is wrong with the file.
    """
    return load_with_account(name_or_path).spec


def load_with_account(name_or_path: str) -> LoadedSpec:
    """As ``load_spec``, with the account of an official file."""
    path = Path(name_or_path).expanduser()
    is_name = name_or_path in PRESETS | ALIASES or not (looks_like_a_file(name_or_path) or path.is_file())
    if is_name:
        return LoadedSpec(preset(name_or_path))
    values = read_mapping(path)
    if INHERIT not in values and is_official(values):
        config = load_official(path)
        return LoadedSpec(config.spec, config.left_aside)
    return LoadedSpec(load_yaml(path))
