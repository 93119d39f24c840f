"""Official YAML files with their includes resolved, and the file in which each key was written.

``__include__`` lists files relative to the one that names them. They are merged from the first to the last, then
the file itself: mappings key by key, lists and all else replaced (docs/pitfalls.md H.1).
"""

from pathlib import Path
from typing import Any

from frameworks.config.mappings import merged, read_mapping
from frameworks.config.validation import SpecError
from frameworks.files import user_path

INCLUDE = "__include__"

# Sections of building blocks; a file may configure more of them than its model uses.
COMPONENTS = (
    *("RTDETR", "PResNet", "HGNetv2", "DLANet", "RegNet", "HybridEncoder", "RTDETRTransformer"),
    *("RTDETRTransformerv2", "RTDETRPostProcessor", "SetCriterion", "RTDETRCriterion", "RTDETRCriterionv2"),
    "HungarianMatcher",
)
_MARKS = (INCLUDE, "task", "postprocessor", "optimizer", "epoches", "train_dataloader", *COMPONENTS)

Origins = dict[str, Path]  # dotted path of a key -> the file whose value counts


def is_official(values: dict[Any, Any]) -> bool:
    """Whether a mapping read from a file has the official form, judged by keys that our own does not have."""
    return any(mark in values for mark in _MARKS)


def read_included(path: Path) -> tuple[dict[Any, Any], Origins]:
    """An official file with its includes, and the origin of every key.

    Raises:
        SpecError: a file that is missing or not YAML, includes that are no list of names or form a circle.
    """
    origins: Origins = {}
    return _included(path, origins, ()), origins


def _included(path: Path, origins: Origins, parents: tuple[Path, ...]) -> dict[Any, Any]:
    chain = (*parents, path)
    if path.resolve() in [parent.resolve() for parent in parents]:
        raise SpecError(f"{parents[0]} includes itself: {' -> '.join(map(str, chain))}")
    values = read_mapping(path)
    includes = values.pop(INCLUDE, [])
    if not isinstance(includes, list) or not all(isinstance(name, str) for name in includes):
        raise SpecError(f"{path}: {INCLUDE} is {includes!r}; expected a list of files, relative to this one")
    included: dict[Any, Any] = {}
    for name in includes:
        target = path.parent / user_path(name)
        if not target.is_file():
            raise SpecError(f"{path}: {INCLUDE} names {name!r}, but there is no file {target}")
        included = merged(included, _included(target, origins, chain))
    _note_origins(values, "", path, origins)
    return merged(included, values)


def _note_origins(values: dict[Any, Any], where: str, path: Path, origins: Origins) -> None:
    for key, value in values.items():
        origins[f"{where}{key}"] = path
        if isinstance(value, dict):
            _note_origins(value, f"{where}{key}.", path, origins)
