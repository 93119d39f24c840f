"""What experiments/evaluate.py evaluates, and on which images: a run, a checkpoint, or a file of weights."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from experiments.data.coco import SplitName
from experiments.data.source import resolve_source
from experiments.data.splits import load_splits
from experiments.data.subset import choose_subset
from experiments.runs.data import VAL_IMAGES, Subset, require_data
from experiments.runs.folder import Run
from experiments.runs.resume import open_run
from experiments.runs.stepper import Machine
from experiments.weight_files.readers import file_format
from experiments.weight_files.sources import Loaded, load_weights, open_source
from frameworks import ADAPTERS, REFERENCE
from frameworks.config import ExperimentSpec, load_spec
from frameworks.config.recorded import read_spec
from frameworks.errors import UserError
from frameworks.files import user_path
from reports.run import files

WEIGHTS_BATCH = 4  # images at a time for files of weights, whose presets train with more than a CPU holds


@dataclass(frozen=True)
class Request:
    """An evaluation as it was asked for; None is what the source says, else the usual."""

    source: str
    split: SplitName = "val"
    checkpoint: str = "last"
    frameworks: tuple[str, ...] | None = None
    preset: str | None = None
    data: str | None = None
    subset: int | None = None
    image_size: tuple[int, int] | None = None  # height, width
    batch_size: int | None = None
    device: str | None = None
    kernels: str | None = None
    pythons: Mapping[str, str] = field(default_factory=dict)
    in_process: bool = False
    out: Path | None = None


@dataclass(frozen=True)
class Evaluation:
    """A request with everything found: weights for each framework, and the images."""

    spec: ExperimentSpec
    weights: Mapping[str, Loaded]
    machine: Machine
    subset: Subset
    sentence: str


def find(request: Request) -> Evaluation:
    """Find the weights, their spec and the images.

    Raises:
        UserError: nothing of that name, no checkpoint yet, a file of an unknown model, or missing data.
    """
    path = user_path(request.source).absolute()
    run = _run_of(path)
    spec, trained = _spec(request, path, run)
    batch = request.batch_size or (spec.data.batch_size if trained else min(spec.data.batch_size, WEIGHTS_BATCH))
    data = replace(spec.data, batch_size=batch)
    if request.image_size is not None:
        data = replace(data, image_size=request.image_size)
    weights = _of_run(request, run) if run and path.is_dir() else _of_file(request, path)
    subset, sentence = _images(request, run, spec)
    loaded = {name: load_weights(open_source(source, spec), spec) for name, source in weights.items()}
    return Evaluation(replace(spec, data=data), loaded, _machine(request, run), subset, sentence)


def _run_of(path: Path) -> Run | None:
    """The run whose folder or checkpoint this is."""
    if path.is_dir() and not (path / files.META).is_file():
        raise UserError(f"{path}: has no {files.META}, so it is no run folder; give one, a checkpoint, or weights")
    folder = path if path.is_dir() else path.parent.parent
    return open_run(folder) if path.exists() and (folder / files.META).is_file() else None


def _spec(request: Request, path: Path, run: Run | None) -> tuple[ExperimentSpec, bool]:
    """The spec, and whether the weights were trained with it: then its batch size gives the same numbers again."""
    if request.preset is not None:
        return load_spec(request.preset), False
    return (run.spec, True) if run else spec_of_file(request.source)


def spec_of_file(source: str) -> tuple[ExperimentSpec, bool]:
    """The spec of a checkpoint or of weights, which tell it by their shapes, and whether it is a checkpoint's.

    Raises:
        UserError: no such file, or one that fits no preset or several.
    """
    path = user_path(source)
    if path.is_file() and file_format(path) == "safetensors" and (spec := read_spec(path)) is not None:
        return spec, True
    return load_weights(open_source(source, None), None).spec, False


def _of_run(request: Request, run: Run) -> dict[str, str]:
    return checkpoints_of(run.folder, request.checkpoint, request.frameworks or run.frameworks, run.frameworks)


def checkpoints_of(folder: Path, which: str, wanted: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """The "last" or "best" checkpoint in a run's folder of the ``wanted`` frameworks; ``known`` are all of the run.

    Raises:
        UserError: one of them has none yet.
    """
    name = {"last": files.CHECKPOINT, "best": files.BEST}[which]
    paths = {framework: folder / framework / name for framework in wanted}
    for framework, path in paths.items():
        if not path.is_file():
            trained = ", ".join(each for each in known if (folder / each / name).is_file())
            advice = f"give one of {trained}, or a file" if trained else "train further first"
            raise UserError(f"{path}: there is no {which} checkpoint of {framework}; {advice}")
    return {framework: str(path) for framework, path in paths.items()}


def _of_file(request: Request, path: Path) -> dict[str, str]:
    """One file for the frameworks that were asked for, else the one that wrote it, else the reference."""
    source = str(path) if path.exists() else request.source
    return dict.fromkeys(request.frameworks or (writer_of(path),), source)


def writer_of(path: Path) -> str:
    """The framework whose checkpoint a file is, by the name of its folder; of any other file the reference."""
    return path.parent.name if path.parent.name in ADAPTERS else REFERENCE


def _machine(request: Request, run: Run | None) -> Machine:
    """As the run was, so that its numbers come out again, unless something else is asked for."""
    usual = Machine(run.meta.device, run.meta.kernels, run.meta.pythons, run.meta.in_process) if run else Machine()
    return Machine(
        request.device or usual.device,
        request.kernels or usual.kernels,
        request.pythons or usual.pythons,
        request.in_process or usual.in_process,
    )


def _images(request: Request, run: Run | None, spec: ExperimentSpec) -> tuple[Subset, str]:
    """The run's images of the split; with --data, --subset or without a run, those of a data set."""
    if run and request.data is None and request.subset is None:
        return run.data[request.split], run.meta.data.sentence
    require_data(request.data, request.subset)
    wanted = sys.maxsize if request.subset is None else request.subset
    seed = run.meta.seed if run else 0
    counts = {"train": 1, "val": 1} | {request.split: min(wanted, VAL_IMAGES)}
    source = resolve_source(request.data, train_count=counts["train"], val_count=counts["val"], seed=seed)
    split = load_splits(source.root, spec.data.categories, (request.split,))[request.split]
    if len(split.classes.names) != spec.object_classes:
        raise UserError(
            f"{request.source} knows {spec.object_classes} classes, but the data in {source.root} have "
            f"{len(split.classes.names)} ({split.classes}); evaluate on the data that it was trained for"
        )
    return Subset(split, choose_subset(split, min(wanted, len(split.images)), seed)), source.sentence
