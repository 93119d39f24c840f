"""Reads a YAML file of the official repository (rtdetr_pytorch or rtdetrv2_pytorch) as a spec.

What decides a result goes into the spec. What changes no result is left aside and listed. What the spec cannot
express is an error, and so is a key that the official code does not have.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frameworks.config.experiment import ExperimentSpec
from frameworks.config.official.data import LOADING, read_data
from frameworks.config.official.files import read_included
from frameworks.config.official.model import read_model
from frameworks.config.official.section import LeftAside, Section
from frameworks.config.official.training import read_criterion, read_postprocessor, read_recipe
from frameworks.config.validation import SpecError

_WRITING = "output_dir log_dir log_step summary_dir print_freq checkpoint_step checkpoint_freq"
_ASIDE = {  # reason -> keys that change nothing on one machine
    "where and how often a run writes": _WRITING,
    "only with several processes": "sync_bn find_unused_parameters",
    "--amp and --use-amp of the official commands decide, not the file; here --use-amp": "use_amp scaler",
    "COCO's evaluation of boxes, always": "evaluator",
    "chosen where training starts": "seed device",
    LOADING: "num_workers",
}


@dataclass(frozen=True)
class LoadedSpec:
    """A spec that was read, and the keys of an official file that are not in it.

    ``base`` names the preset that it is or inherits from; empty for a file that says everything itself. ``said``
    are the values that the file gives, as plain data.
    """

    spec: ExperimentSpec
    left_aside: tuple[LeftAside, ...] = ()
    base: str = ""
    said: dict[str, Any] = field(default_factory=dict)


def load_official(path: str | Path) -> LoadedSpec:
    """The spec of an official file with its includes; its name is the file's.

    Raises:
        SpecError: a file or include that cannot be read, an unknown key (with the nearest one), a value that the
            spec cannot express, or a part that only other files can include.
    """
    path = Path(path)
    values, origins = read_included(path)
    left_aside: list[LeftAside] = []
    try:
        with Section(values, "", path, origins, left_aside) as top:
            spec = _experiment(path.stem, top)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None
    return LoadedSpec(spec, tuple(left_aside))


def _experiment(name: str, top: Section) -> ExperimentSpec:
    if "RTDETR" not in top or "train_dataloader" not in top:
        raise SpecError("no complete config: RTDETR or train_dataloader is missing; name the file that includes it")
    top.only("task", "detection", default="detection")
    top.only("model", "RTDETR")
    top.only("postprocessor", "RTDETRPostProcessor")
    criterion = top.only("criterion", "SetCriterion", "RTDETRCriterion", "RTDETRCriterionv2")
    legacy = criterion == "SetCriterion"  # rtdetr_pytorch; both others are rtdetrv2_pytorch
    with top.section("RTDETR") as parts:
        multi_scale = parts.optional("multi_scale", tuple[int, ...]) if legacy else None
        data = read_data(top, multi_scale, legacy=legacy)
        model = read_model(top, parts, legacy=legacy, image_size=data.image_size)
    if (model.version == "v2") != (criterion == "RTDETRCriterionv2"):
        top.refuse("criterion", criterion, f"the decoder is of version {model.version}; the spec has one for both")
    losses = read_criterion(top, criterion, model)
    read_postprocessor(top, model, losses.matcher)
    recipe = read_recipe(top, legacy=legacy)
    for why, keys in _ASIDE.items():
        top.aside(why, *keys.split())
    top.only("resume", None, default=None, why="start from a checkpoint where training starts")
    top.only("last_epoch", -1, default=-1, why="training starts at the first epoch")
    top.unused_components()
    return ExperimentSpec(name=name, model=model, criterion=losses, recipe=recipe, data=data)
