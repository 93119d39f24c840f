"""The model of a detection: weights for each framework, spec and classes, from a run, a checkpoint or a file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.data.categories import COCO, Classes
from experiments.data.voc import VOC_NAMES
from experiments.runs.evaluation_source import checkpoints_of, spec_of_file, writer_of
from experiments.weight_files.initial import in_float32
from experiments.weight_files.sources import load_weights, open_source
from frameworks import ADAPTERS
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec, load_spec
from frameworks.errors import UserError
from frameworks.files import user_path
from reports.jsonl import read_object
from reports.run import files


@dataclass(frozen=True)
class Model:
    """A spec with the size of its input, the weights of each framework, and the classes by label."""

    source: str
    spec: ExperimentSpec
    weights: Mapping[str, Arrays]
    classes: Classes


def choose_model(
    source: str,
    *,
    preset: str | None = None,
    wanted: tuple[str, ...] | None = None,
    checkpoint: str = "last",
    image_size: tuple[int, int] | None = None,
) -> Model:
    """Find and read the weights.

    Args:
        source: a run's folder, a checkpoint, a file of weights, or the word ``official``.
        preset: the model of a file of weights, where its shapes do not tell it; for ``official`` always.
        wanted: frameworks; None: all of a run, that of a checkpoint, else the reference. A run gives each framework
            its own checkpoint, a file gives all the same weights.
        checkpoint: of a run, "last" or "best".
        image_size: height and width of the input in pixels; None: those of the training or the preset.

    Raises:
        UserError: nothing of that name, no checkpoint yet, or a file of an unknown or another model.
    """
    path = user_path(source).absolute()
    if path.is_dir():
        if not (path / files.META).is_file():
            raise UserError(f"{path}: has no {files.META}, so it is no run folder; give one or a file of weights")
        trained = [name for name in ADAPTERS if (path / name).is_dir()]
        sources = checkpoints_of(path, checkpoint, wanted or tuple(trained or ADAPTERS), trained)
        run = path
    else:
        sources = dict.fromkeys(wanted or (writer_of(path),), source)
        run = path.parent.parent
    spec = load_spec(preset) if preset else spec_of_file(next(iter(sources.values())))[0]
    if image_size is not None:
        spec = replace(spec, data=replace(spec.data, image_size=image_size))
    read = {name: load_weights(open_source(each, spec), spec) for name, each in sources.items()}
    weights = {name: in_float32(loaded.weights) for name, loaded in read.items()}
    return Model(source, spec, weights, classes_of_model(spec, run))


def classes_of_model(spec: ExperimentSpec, run: Path) -> Classes:
    """Names and category ids by label: those of the run's data, COCO's for COCO's 80, else ``class K`` and K."""
    count = spec.object_classes
    names = spec.data.categories or (VOC_NAMES if spec.data.dataset == "voc" else ())
    if not names and count == len(COCO.names):
        return COCO
    if len(names) != count:
        names = tuple(f"class {label}" for label in range(count))
    ids = _recorded_ids(run / files.SAMPLES)
    if not all(name in ids for name in names):
        ids = {name: label for label, name in enumerate(names)}
    return Classes(tuple(ids[name] for name in names), tuple(names))


def _recorded_ids(path: Path) -> dict[str, int]:
    """Category ids by name, as a run keeps them; {} where there is no such file."""
    categories = read_object(path).get("categories", {}) if path.is_file() else {}
    return {str(name): int(category_id) for category_id, name in categories.items()}
