"""The classes of a run: those of its data, where nobody said otherwise."""

from collections.abc import Sequence
from dataclasses import replace

from experiments.data.categories import COCO, Classes
from experiments.data.source import Source
from experiments.data.voc import VOC_NAMES
from frameworks.config import ExperimentSpec, says_num_classes
from frameworks.errors import UserError


def with_classes(
    spec: ExperimentSpec, preset: str, source: Source, classes: Classes, settings: Sequence[str] = ()
) -> ExperimentSpec:
    """`spec` with the classes of the data: `num_classes`, `data.dataset` and `data.categories`.

    `preset` is the preset or file that `spec` comes from, `settings` what -u changed. Raises UserError where a file
    or a setting gives another number of classes, and where a preset for VOC meets COCO's classes.
    """
    count, background = len(classes.names), spec.model.num_classes - spec.object_classes
    said = says_num_classes(preset) or any(each.startswith("model.num_classes=") for each in settings)
    if spec.object_classes != count and said:
        raise UserError(_disagreement(spec, preset, source, classes))
    if classes == COCO and spec.data.dataset == "voc":
        raise UserError(
            f"--preset {preset} is for Pascal VOC, but the classes of {source.root} are COCO's; name a folder in "
            "VOC's layout with --data, or choose a preset for COCO"
        )
    dataset = "voc" if classes.names == VOC_NAMES else "coco" if classes == COCO else "custom"
    names = () if classes == COCO else classes.names
    return replace(
        spec,
        model=replace(spec.model, num_classes=count + background),
        data=replace(spec.data, dataset=dataset, categories=names),
    )


def classes_line(classes: Classes) -> str:
    """One line about the classes and their labels, for the start of a run."""
    count = len(classes.names)
    if classes == COCO:
        return f"classes: COCO's {count}, with COCO's labels"
    ids = f"{classes.ids[0]}..{classes.ids[-1]}" if count > 1 else f"{classes.ids[0]}"
    same = "as labels" if classes.ids == tuple(range(count)) else f"are labels 0..{count - 1} (docs/training.md)"
    return f"classes: {count} of the data set's own ({classes}); category ids {ids} {same}"


def _disagreement(spec: ExperimentSpec, preset: str, source: Source, classes: Classes) -> str:
    given, count = spec.object_classes, len(classes.names)
    whose = "COCO's 80" if classes == COCO else f"{count} ({classes})"
    hint = ""
    if given == max(classes.ids) + 1 and classes != COCO:
        hint = (
            f" (the official code takes the ids up to {max(classes.ids)} for labels; here the categories have the "
            f"labels 0..{count - 1})"
        )
    return (
        f"{preset}: num_classes is {given}, but the classes of {source.root} are {whose}{hint}; "
        f"write {count} there or leave num_classes out"
    )
