"""What a run folder says about itself, in a few numbers, for a list of runs; no file is changed."""

import contextlib
import fcntl
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from experiments.runs.folder import LOCK
from frameworks.errors import UserError
from reports.jsonl import read_lines, read_object
from reports.run import files
from reports.run.certificate import read_certificate
from reports.run.meta import RunMeta

COMPLETE, INTERRUPTED, FAILED, RUNNING = "complete", "interrupted", "failed", "running"
BROKEN, FOREIGN = "broken", "no run"  # a run folder that cannot be read; a folder that is something else
MOST_CONTROLS = 99  # a file that names more is no run's
SHOWN_STATS = ("AP", "AP50")
# What hostile or half-written records lead to beside UserError: every one means "this is no run that can be read".
UNREADABLE = (
    UserError,
    OSError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class EntryOverview:
    """One framework or control of a run: how far it came. ``ap`` maps a split to its latest AP and AP50."""

    name: str
    epochs: int = 0
    seconds: float = 0.0  # of training and evaluation
    peak_memory_mb: float | None = None
    ap: dict[str, dict[str, float | None]] = field(default_factory=dict)
    failure: str = ""


@dataclass(frozen=True)
class RunOverview:
    """One row of the list. Of a folder that is no run or cannot be read, all but the first five are empty."""

    name: str
    path: str
    state: str
    problem: str = ""
    bytes: int = 0
    created: str = ""
    command: str = ""
    preset: str = ""
    recipe: str = ""
    data: str = ""
    train_images: int | None = None
    val_images: int | None = None
    image_size: str = ""
    epochs: int | None = None
    batch_size: int | None = None
    seed: int | None = None
    device: str = ""
    frameworks: tuple[str, ...] = ()
    entries: tuple[EntryOverview, ...] = ()

    @property
    def minutes(self) -> float | None:
        """Minutes of training and evaluation of all entries; None where nothing is recorded."""
        return sum(entry.seconds for entry in self.entries) / 60 if self.entries else None

    @property
    def recipe_name(self) -> str:
        """The first word of the sentence about the recipe."""
        return self.recipe.partition(" ")[0]

    def last_ap(self) -> list[float | None]:
        """The latest AP on the validation images of each framework, controls left out."""
        found = {entry.name: entry.ap.get("val", {}).get("AP") for entry in self.entries}
        return [found.get(name) for name in self.frameworks]

    def record(self) -> dict[str, Any]:
        """All fields as plain values for JSON."""
        return asdict(self) | {"minutes": self.minutes}


def read_overview(folder: Path) -> RunOverview:
    """Read a folder, whatever it holds: one that cannot be read has the state BROKEN and says why."""
    place: dict[str, Any] = {"name": folder.name, "path": str(folder)}
    if not (folder / files.META).is_file():
        return RunOverview(state=FOREIGN, problem=f"has no {files.META}", **place)
    place["bytes"] = disk_usage(folder)
    try:
        return _read_run(folder, place)
    except UNREADABLE as error:
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return RunOverview(state=BROKEN, problem=reason.removeprefix(f"{folder}/"), **place)


def _read_run(folder: Path, place: dict[str, Any]) -> RunOverview:
    meta = RunMeta.read(folder / files.META)
    if not 0 <= meta.controls <= MOST_CONTROLS:
        raise UserError(f"{files.META}: controls is {meta.controls!r}, expected 0 to {MOST_CONTROLS}")
    names = [*meta.frameworks, *meta.control_names]
    if odd := [name for name in names if not isinstance(name, str) or Path(name).name != name]:
        raise UserError(f"{files.META}: {odd[0]!r} is no name of a framework")
    entries = tuple(_read_entry(folder / name) for name in names)
    return RunOverview(
        **place,
        state=_state(folder, entries),
        created=str(meta.created),
        command=str(meta.command),
        preset=str(meta.preset),
        recipe=str(meta.recipe),
        data=str(meta.data.sentence),
        train_images=meta.data.train_images,
        val_images=meta.data.val_images,
        image_size=meta.pixels,
        epochs=int(meta.epochs),
        batch_size=int(meta.batch_size),
        seed=int(meta.seed),
        device=str(meta.device),
        frameworks=tuple(meta.frameworks),
        entries=entries,
    )


def _read_entry(folder: Path) -> EntryOverview:
    epochs = {row["epoch"]: row for row in _rows(folder / files.EPOCHS)}
    evaluations = {(row["epoch"], row["split"]): row for row in _rows(folder / files.EVALUATION)}
    memory = [float(row["peak_memory_mb"]) for row in epochs.values() if row.get("peak_memory_mb") is not None]
    latest = {split: row["stats"] for (_, split), row in sorted(evaluations.items())}
    seconds = [float(row["seconds"]) for row in (*epochs.values(), *evaluations.values())]
    failure = read_object(folder / files.FAILURE) if (folder / files.FAILURE).is_file() else {}
    return EntryOverview(
        name=folder.name,
        epochs=len(epochs),
        seconds=sum(each for each in seconds if math.isfinite(each)),
        peak_memory_mb=max(memory, default=None),
        ap={split: {name: _finite(stats[name]) for name in SHOWN_STATS} for split, stats in latest.items()},
        failure=": ".join(str(failure[key]) for key in ("kind", "message") if failure.get(key)),
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    return read_lines(path)[0] if path.is_file() else []


def _finite(value: float | None) -> float | None:
    """A COCO statistic; None where COCO defines none (-1) or it is not a number."""
    return None if value is None or not math.isfinite(value) or value < 0 else float(value)


def _state(folder: Path, entries: tuple[EntryOverview, ...]) -> str:
    if _locked(folder / LOCK):
        return RUNNING
    finished = read_object(folder / files.COMPLETE)["frameworks"] if (folder / files.COMPLETE).is_file() else ()
    if any(entry.failure for entry in entries):
        return FAILED
    if all(entry.name in finished for entry in entries):
        return COMPLETE
    certificate = None if any(entry.epochs for entry in entries) else read_certificate(folder / files.CERTIFICATE)
    return FAILED if certificate is not None and certificate.failed else INTERRUPTED


def _locked(path: Path) -> bool:
    """Whether a process works in the run: asked by a shared lock, which is given back at once."""
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock file, or a file system without locks: nobody can say
        return False
    return False


def disk_usage(folder: Path) -> int:
    """Bytes on the disk below ``folder``; a file of two names counts once, links are not followed."""
    sizes: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # removed meanwhile, as a training does with its last checkpoint
                facts = Path(parent, name).lstat()
                sizes[facts.st_dev, facts.st_ino] = facts.st_blocks * 512
    return sum(sizes.values())
