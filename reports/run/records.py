"""Read a run folder as typed records, the only source of the numbers in its report.

`read_run` accepts interrupted and crashed runs: a missing file becomes an absent value and a note. A broken file
raises UserError.
"""

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from frameworks.errors import UserError
from reports.jsonl import read_json, read_lines, read_object
from reports.run import files
from reports.run.certificate import Certificate, read_certificate
from reports.run.meta import Failure, RunMeta

SPLITS = ("train", "val")
Row = TypeVar("Row")


@dataclass(frozen=True)
class Step:
    """One optimizer update. `step` counts from 0 over the whole run; `seconds` is wall time with compilation."""

    step: int
    epoch: int
    losses: dict[str, float]
    total: float
    grad_norm: float
    lr: tuple[float, ...]
    seconds: float
    match_hash: str | None
    kernels_compiled: int = 0
    compile_seconds: float = 0.0


@dataclass(frozen=True)
class Epoch:
    """One finished epoch: `seconds` of training, mean total loss, peak memory in MB."""

    epoch: int
    seconds: float
    loss: float
    peak_memory_mb: float | None


@dataclass(frozen=True)
class Evaluation:
    """COCO statistics (fractions in 0..1, -1 where COCO defines none) after an epoch, on one split.

    ``losses`` are the terms of the final predictions, {} where the run was not validated on the way.
    """

    epoch: int
    split: str
    images: int
    stats: dict[str, float]
    kernels_compiled: int = 0
    compile_seconds: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0  # of the whole evaluation; 0 where it was not recorded


@dataclass(frozen=True)
class Box:
    """A labelled box in pixels of the original image, [x, y, width, height]; ground truth has no score."""

    category: str
    bbox: tuple[float, float, float, float]
    score: float | None = None


@dataclass(frozen=True)
class Sample:
    """One image kept for the report, with its ground truth."""

    image_id: int
    split: str
    ground_truth: tuple[Box, ...]


@dataclass(frozen=True)
class FrameworkRecords:
    """What one framework recorded. Repeated steps or epochs (a resumed run) are kept once, the last one."""

    name: str
    steps: tuple[Step, ...] = ()
    epochs: tuple[Epoch, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    predictions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failure: Failure | None = None
    notes: tuple[str, ...] = ()

    @property
    def compiled(self) -> tuple[int, float]:
        """Kernels compiled during training and evaluation, and the seconds that took."""
        rows = (*self.steps, *self.evaluations)
        return sum(row.kernels_compiled for row in rows), sum(row.compile_seconds for row in rows)

    def last_evaluation(self, split: str) -> Evaluation | None:
        """The latest evaluation on `split`, or None."""
        found = [evaluation for evaluation in self.evaluations if evaluation.split == split]
        return found[-1] if found else None


@dataclass(frozen=True)
class PrecisionDifference:
    """AP of `other` minus AP of `reference` on one split, with its interval over resampled images."""

    split: str
    reference: str
    other: str
    difference: float
    low: float
    high: float
    resamples: int


@dataclass(frozen=True)
class RunRecords:
    """A whole run folder. `meta` is run.json; `manifests` maps a split to its file's SHA-256.

    `controls` are trainings of the first framework from weights moved by one unit in the last place. Runs from
    before there were controls, certificate and `precision` have none.
    """

    folder: Path
    meta: RunMeta
    frameworks: tuple[FrameworkRecords, ...]
    manifests: dict[str, str]
    samples: tuple[Sample, ...]
    categories: dict[int, str]
    finished: tuple[str, ...]
    controls: tuple[FrameworkRecords, ...] = ()
    certificate: Certificate | None = None
    precision: tuple[PrecisionDifference, ...] = ()

    @property
    def entries(self) -> tuple[FrameworkRecords, ...]:
        """Everything that the run trains: the frameworks, then the controls."""
        return self.frameworks + self.controls

    @property
    def complete(self) -> bool:
        """Whether complete.json names every entry and none of them recorded a failure."""
        return all(entry.name in self.finished and entry.failure is None for entry in self.entries)

    @property
    def trained(self) -> tuple[FrameworkRecords, ...]:
        """The frameworks that recorded at least one step."""
        return tuple(framework for framework in self.frameworks if framework.steps)

    @property
    def notes(self) -> tuple[str, ...]:
        """Missing, repeated and cut-off records that were accepted, each with its framework."""
        return tuple(f"{item.name}/{note}" for item in self.entries for note in item.notes)


def read_run(folder: Path) -> RunRecords:
    """Read a run folder. Raises UserError if it is none, if a file is broken, or if no step was recorded."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such run folder; give the one that experiments/run.py wrote")
    meta = RunMeta.read(folder / files.META)
    frameworks = tuple(_read_framework(folder / name, name) for name in meta.frameworks)
    certificate = read_certificate(folder / files.CERTIFICATE)
    stopped = certificate is not None and certificate.failed
    if not stopped and not any(framework.steps or framework.failure for framework in frameworks):
        raise UserError(f"{folder}: no framework has recorded a step yet; run experiments/run.py further first")
    samples, categories = _read_samples(folder)
    complete = folder / files.COMPLETE
    return RunRecords(
        folder=folder,
        meta=meta,
        frameworks=frameworks,
        manifests=_manifest_hashes(folder),
        samples=samples,
        categories=categories,
        finished=tuple(read_object(complete).get("frameworks", ())) if complete.exists() else (),
        controls=tuple(_read_framework(folder / name, name) for name in meta.control_names),
        certificate=certificate,
        precision=_read_precision(folder / files.BOOTSTRAP),
    )


def _read_framework(folder: Path, name: str) -> FrameworkRecords:
    notes: list[str] = []
    steps = _rows(folder / files.STEPS, _step, lambda row: row.step, notes)
    epochs = _rows(folder / files.EPOCHS, _epoch, lambda row: row.epoch, notes)
    evaluations = _rows(
        folder / files.EVALUATION, _evaluation, lambda row: (row.epoch, SPLITS.index(row.split)), notes
    )
    if steps and len(steps) != steps[-1].step - steps[0].step + 1:
        notes.append(
            f"{files.STEPS}: holds {len(steps)} steps of {steps[0].step}..{steps[-1].step}; some are missing"
        )
    paths = {split: folder / files.predictions(split) for split in SPLITS}
    predictions = {split: _read_predictions(path) for split, path in paths.items() if path.exists()}
    failure = folder / files.FAILURE
    return FrameworkRecords(name, steps, epochs, evaluations, predictions, _read_failure(failure), tuple(notes))


def _rows(
    path: Path, build: Callable[[dict[str, Any]], Row], key: Callable[[Row], Hashable], notes: list[str]
) -> tuple[Row, ...]:
    """The rows of a JSON-lines file in the order of `key`, a repeated key keeping its last row."""
    if not path.exists():
        notes.append(f"{path.name}: was not written")
        return ()
    objects, note = read_lines(path)
    if note:
        notes.append(note)
    rows: dict[Any, Row] = {}
    for number, item in enumerate(objects, start=1):
        try:
            row = build(item)
        except KeyError as error:
            raise UserError(f"{path}: record {number} lacks {error.args[0]!r}") from None
        except (TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{path}: record {number} is not what a run writes: {error}") from None
        rows[key(row)] = row
    if len(rows) < len(objects):
        repeated = len(objects) - len(rows)
        notes.append(f"{path.name}: {repeated} records were written again by a resumed run; the last ones count")
    return tuple(rows[each] for each in sorted(rows))


def _step(item: dict[str, Any]) -> Step:
    return Step(
        step=int(item["step"]),
        epoch=int(item["epoch"]),
        losses={name: _number(value) for name, value in item["losses"].items()},
        total=_number(item["total"]),
        grad_norm=_number(item["grad_norm"]),
        lr=tuple(_number(value) for value in item["lr"]),
        seconds=_number(item["seconds"]),
        match_hash=item.get("match_hash"),
        **_compiled(item),
    )


def _epoch(item: dict[str, Any]) -> Epoch:
    memory = item.get("peak_memory_mb")
    return Epoch(
        epoch=int(item["epoch"]),
        seconds=_number(item["seconds"]),
        loss=_number(item["loss"]),
        peak_memory_mb=None if memory is None else float(memory),
    )


def _evaluation(item: dict[str, Any]) -> Evaluation:
    if item["split"] not in SPLITS:
        raise ValueError(f"split is {item['split']!r}, expected one of {', '.join(SPLITS)}")
    stats = {name: _number(value) for name, value in item["stats"].items()}
    missing = [name for name in ("AP", "AP50") if name not in stats]
    if missing:
        raise ValueError(f"stats lacks {', '.join(missing)}")
    losses = {name: _number(value) for name, value in item.get("losses", {}).items()}
    seconds = _number(item.get("seconds", 0.0))
    return Evaluation(
        int(item["epoch"]),
        item["split"],
        int(item["images"]),
        stats,
        **_compiled(item),
        losses=losses,
        seconds=seconds,
    )


def _compiled(item: dict[str, Any]) -> dict[str, Any]:
    """What was compiled; runs of earlier versions did not record it."""
    kernels, seconds = item.get("kernels_compiled", 0), item.get("compile_seconds", 0.0)
    return {"kernels_compiled": int(kernels), "compile_seconds": _number(seconds)}


def _number(value: Any) -> float:
    # Strict JSON has no NaN, so a writer may put null: it is shown as NaN.
    return float("nan") if value is None else float(value)


def _read_predictions(path: Path) -> list[dict[str, Any]]:
    value = read_json(path)
    if not isinstance(value, list):
        raise UserError(f"{path}: expected a COCO results list, found {type(value).__name__}")
    for number, item in enumerate(value, start=1):
        missing = [key for key in ("image_id", "category_id", "bbox", "score") if key not in item]
        if missing:
            raise UserError(f"{path}: result {number} lacks {', '.join(missing)}")
    return value


def _read_precision(path: Path) -> tuple[PrecisionDifference, ...]:
    if not path.exists():
        return ()
    names = [field.name for field in fields(PrecisionDifference)]
    try:
        return tuple(PrecisionDifference(**{name: item[name] for name in names}) for item in read_lines(path)[0])
    except KeyError as error:
        raise UserError(f"{path}: a record lacks {error.args[0]!r}") from None


def _read_failure(path: Path) -> Failure | None:
    if not path.exists():
        return None
    item = read_object(path)
    text = {key: str(item.get(key) or "") for key in ("kind", "message", "stderr_tail")}
    return Failure(**text)


def _manifest_hashes(folder: Path) -> dict[str, str]:
    paths = {split: folder / files.manifest(split) for split in SPLITS}
    return {split: hashlib.sha256(path.read_bytes()).hexdigest() for split, path in paths.items() if path.exists()}


def _read_samples(folder: Path) -> tuple[tuple[Sample, ...], dict[int, str]]:
    path = folder / files.SAMPLES
    if not path.exists() or not (folder / files.SAMPLE_IMAGES).exists():
        return (), {}
    item = read_object(path)
    try:
        categories = {int(key): str(name) for key, name in item["categories"].items()}
        images = item["images"] if "images" in item else item["samples"]
        return tuple(_sample(image) for image in images), categories
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path}: expected categories (id to name) and images (image_id, split, ground_truth): "
            f"{type(error).__name__}: {error}"
        ) from None


def _sample(item: dict[str, Any]) -> Sample:
    boxes = []
    for box in item["ground_truth"]:
        x, y, width, height = (float(value) for value in box["bbox"])
        boxes.append(Box(str(box["category"]), (x, y, width, height)))
    return Sample(int(item["image_id"]), str(item["split"]), tuple(boxes))
