"""The differences between a run and the official training, found by comparing the two specs."""

from typing import Any

from frameworks.config import ALIASES, PRESETS, ExperimentSpec, to_dict

TRAIN_IMAGES = 118_287  # COCO train2017


def deviations(
    official: ExperimentSpec, resolved: ExperimentSpec, train_images: int, weights: dict[str, Any] | None = None
) -> list[str]:
    """One line for every field of `resolved` that differs from `official`, and for differences outside the spec.

    `weights` is run.json's record of the file that the run starts from; None: random initial weights.
    """
    differences = _differences(to_dict(official) | {"name": ""}, to_dict(resolved) | {"name": ""}, "")
    found = [f"`{path}` is {_show(ours)} instead of {_show(theirs)}" for path, theirs, ours in differences]
    if official.name not in PRESETS | ALIASES:
        found.insert(0, f"`{official.name}` says every field itself and is compared here with its own settings")
    if official.name == "tiny":
        found.insert(0, "the preset `tiny` has no official counterpart; compared here with its own settings")
    if train_images != TRAIN_IMAGES:
        found.append(f"{train_images:,} training images instead of the {TRAIN_IMAGES:,} of COCO train2017")
    if weights and (weights["part"], weights["source"]) in (
        ("backbone", "official"),
        ("model", official.recipe.tuning),
    ):
        return found
    # No field of a spec expresses the start, so that comparing specs cannot find it.
    start = weights["sentence"].rstrip(".") if weights else "random initial weights"
    theirs = official.recipe.tuning or "a backbone pretrained on ImageNet"
    return [*found, f"{start}; the official recipe starts from {theirs}"]


def _differences(theirs: Any, ours: Any, path: str) -> list[tuple[str, Any, Any]]:
    """(path, official value, own value) of every leaf that differs.

    Backbones of two kinds and lists of two lengths are leaves.
    """
    if isinstance(theirs, dict) and isinstance(ours, dict) and theirs.keys() == ours.keys():
        below = [(f"{path}.{key}" if path else key, theirs[key], ours[key]) for key in theirs]
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        below = [(f"{path}[{index}]", *pair) for index, pair in enumerate(zip(theirs, ours, strict=True))]
    else:
        return [] if theirs == ours else [(path, theirs, ours)]
    return [difference for where, a, b in below for difference in _differences(a, b, where)]


def _show(value: Any) -> str:
    if isinstance(value, (str, list)) and not value:
        return "empty"
    return f"{value:g}" if isinstance(value, float) else str(value)
