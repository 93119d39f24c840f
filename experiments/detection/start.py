"""The command that detects objects on images and videos, in either framework or in both side by side."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.command import COMPLETE, FAILED, Parser, parse_pythons, require_positive
from experiments.detection.differences import Difference, difference, shown_partners
from experiments.detection.model import Model, choose_model
from experiments.detection.pictures import Picture, find_files, is_video, pictures_of, video_decoder
from experiments.detection.results import Document, boxes_of, draw
from experiments.progress import Progress, say
from experiments.runs.options import DEVICES, image_size
from experiments.runs.stepper import Machine, Unavailable, opened
from frameworks import ADAPTERS
from frameworks.detector import Detector, Found
from frameworks.errors import UserError
from frameworks.shared import kernels
from frameworks.workers.client import WorkerFailure
from reports.frameworks import style_of
from reports.run.records import Box

BOTH = "both"


@dataclass(frozen=True)
class Request:
    """A detection as it was asked for."""

    source: str
    images: list[str]
    framework: str | None = None
    checkpoint: str = "last"
    preset: str | None = None
    threshold: float = 0.3
    image_size: tuple[int, int] | None = None  # height, width
    stride: int = 1
    json: Path | None = None
    out: Path | None = None
    device: str = "cpu"
    kernels: str | None = None
    pythons: Mapping[str, str] = field(default_factory=dict)
    in_process: bool = False

    @property
    def wanted(self) -> tuple[str, ...] | None:
        """The frameworks that were asked for; None: those of the source."""
        if self.framework is None:
            return None
        return tuple(ADAPTERS) if self.framework == BOTH else (self.framework,)


def start(arguments: list[str] | None) -> int:
    """Do what the arguments of experiments/detect.py ask for; returns the exit status. Raises UserError."""
    given = vars(_parser().parse_args(arguments))
    given["pythons"] = parse_pythons(given.pop("python"), tuple(ADAPTERS))
    return run_detection(Request(**given))


def run_detection(request: Request) -> int:
    """Detect on everything that can be read, and write what was found even when interrupted; the exit status.

    Raises:
        UserError: unknown weights, no such image, a framework that cannot start, or a place that cannot be written.
    """
    require_positive(vars(request), "stride")
    if not 0 <= request.threshold <= 1:
        raise UserError(f"--threshold is {request.threshold:g}; expected a score from 0 to 1")
    paths = find_files(request.images)
    if any(map(is_video, paths)):
        video_decoder()
    _require_places(request, paths)
    model = choose_model(
        request.source,
        preset=request.preset,
        wanted=request.wanted,
        checkpoint=request.checkpoint,
        image_size=request.image_size,
    )
    machine = Machine(request.device, request.kernels, request.pythons, request.in_process)
    with detectors(model, machine) as ready:
        job = Job(request, model, ready)
        try:
            job.run(paths)
        except WorkerFailure as error:
            raise UserError(f"{error}: {error.stderr_tail.strip().rpartition(chr(10))[2]}") from None
        finally:
            job.finish()
    return FAILED if job.skipped else COMPLETE


@contextlib.contextmanager
def detectors(model: Model, machine: Machine) -> Iterator[dict[str, Detector]]:
    """Context manager that starts every framework of a model. Raises UserError where one cannot start."""
    with contextlib.ExitStack() as stack:
        log = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            frameworks = {name: stack.enter_context(opened(name, machine, log)) for name in model.weights}
            ready = {
                name: Detector(framework, model.spec, model.weights[name], machine.device)
                for name, framework in frameworks.items()
            }
        except (Unavailable, WorkerFailure) as error:
            raise UserError(f"{error}; choose another --framework or --device") from None
        yield ready


class Job:
    """Detects on one file after the other, tells what it finds, and keeps it for the JSON."""

    def __init__(self, request: Request, model: Model, ready: Mapping[str, Detector]) -> None:
        self.request, self.model, self.ready = request, model, ready
        self.documents = {name: Document(name, model, request.threshold) for name in ready}
        self.done, self.skipped, self.objects = 0, list[str](), dict.fromkeys(ready, 0)
        self.worst: list[Difference] = []
        self.drawn: set[str] = set()

    def run(self, paths: list[Path]) -> None:
        """Detect on these files; one that cannot be read is named and skipped."""
        total = None if any(map(is_video, paths)) else len(paths)
        with Progress("detecting", total, unit="image", waiting="decoding and detecting") as progress:
            for path in paths:
                try:
                    for picture in pictures_of(path, self.request.stride):
                        self._detect(picture)
                        progress.advance(numbers=f"{self.done} done")
                except UserError as error:
                    say(f"skipped: {error}")
                    self.skipped.append(str(path))
                    progress.advance(numbers=f"{len(self.skipped)} skipped")

    def _detect(self, picture: Picture) -> None:
        threshold = self.request.threshold
        every = {name: detector.detect(picture.image) for name, detector in self.ready.items()}
        found = {name: each.above(threshold) for name, each in every.items()}
        apart = difference(*every.values(), threshold) if len(every) == 2 else None
        self.worst += [apart] if apart else []
        _tell(self._lines(picture, every, found, apart))
        for name, each in found.items():
            self.documents[name].add(picture, each, apart)
            self.objects[name] += len(each.scores_N)
        if self.request.out:
            draw(picture.image, found, self.model.classes, self.request.out / self._unused(picture.stem))
        self.done += 1

    def finish(self) -> None:
        """Write the JSON and tell the totals."""
        for name, document in self.documents.items():
            document.info["skipped"] = self.skipped
            if self.request.json:
                path = json_path(self.request.json, name, len(self.documents))
                document.write(path)
                _tell([f"written: {path}"])
        objects = ", ".join(f"{style_of(name).label} {count}" for name, count in self.objects.items())
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        _tell([f"{self.done} images{skipped}; detections: {objects}", *_totals(self.worst)])
        if self.request.out:
            _tell([f"pictures: {self.request.out}"])

    def _lines(
        self, picture: Picture, every: Mapping[str, Found], found: Mapping[str, Found], apart: Difference | None
    ) -> list[str]:
        counts = ", ".join(f"{style_of(name).label} {len(each.scores_N)}" for name, each in found.items())
        lines = [f"{picture}: {counts}" + (f"; {apart}" if apart else "")]
        if self.request.json or self.request.out:
            return lines
        return lines + rows(list(every.values()), self.model, self.request.threshold)

    def _unused(self, stem: str) -> str:
        """A name for a drawing that no other one of this job has."""
        names = (f"{stem}{more}-detections.png" for more in ("", *(f"-{count}" for count in range(2, 10**6))))
        name = next(each for each in names if each not in self.drawn)
        self.drawn.add(name)
        return name


def rows(every: Sequence[Found], model: Model, threshold: float) -> list[str]:
    """A line for each detection: class, then score and box [left, top, width, height]; partners on one line.

    A detection is shown if its score, or that of its partner in the other framework, is ``threshold`` or more.
    """
    boxes = [boxes_of(found, model.classes) for found in every]
    above = [[number for number, box in enumerate(each) if (box.score or 0) >= threshold] for each in boxes]
    if len(every) == 1:
        return [_row(boxes[0][i]) for i in above[0]]
    first, second = boxes
    pairs = dict(shown_partners(*every, threshold))
    lines = [
        _row(first[i], second[pairs[i]] if i in pairs else None, of_two=True) for i in sorted({*above[0], *pairs})
    ]
    return lines + [_row(None, second[j], of_two=True) for j in above[1] if j not in pairs.values()]


def _row(first: Box | None, second: Box | None = None, of_two: bool = False) -> str:
    name = next(box.category for box in (first, second) if box)
    left, right = ("" if box is None else f"{box.score:.4f} [{_numbers(box)}]" for box in (first, second))
    return f"  {name:<16} {left:<44} | {right}".rstrip() if of_two else f"  {name:<16} {left}"


def _numbers(box: Box) -> str:
    return ", ".join(f"{value:7.1f}" for value in box.bbox)


def json_path(path: Path, framework: str, frameworks: int) -> Path:
    """The file for a framework: the one that was asked for, with the name of the framework where there are two."""
    return path if frameworks == 1 else path.with_name(f"{path.stem}-{framework}{path.suffix}")


def _totals(worst: list[Difference]) -> list[str]:
    if not worst:
        return []
    score, box = max(each.score for each in worst), max(each.box_px for each in worst)
    pairs, alone = sum(each.pairs for each in worst), sum(each.alone for each in worst)
    return [f"over all: {Difference(score, box, pairs, alone)}"]


def _tell(lines: list[str]) -> None:
    """Print lines on standard output without breaking a bar on standard error."""
    tqdm.write("\n".join(lines), file=sys.stdout)
    sys.stdout.flush()


def _require_places(request: Request, paths: list[Path]) -> None:
    """Make the folders for what is written. Raises UserError where that cannot be done or would spoil an input."""
    folders = [request.out, request.json.parent if request.json else None]
    for folder in filter(None, folders):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot be made ({error.strerror}); choose another folder") from None
    if request.json and request.json.is_dir():
        raise UserError(f"--json {request.json} is a folder; name a file, such as {request.json / 'found.json'}")
    if request.out and any(path.resolve().parent == request.out.resolve() for path in paths):
        raise UserError(f"--out {request.out} is the folder of the images; choose another one")


def _parser() -> Parser:
    parser = Parser(
        prog="python experiments/detect.py",
        description="Detect objects on images and videos: a table, COCO's JSON, or drawn pictures.",
    )
    add: Any = parser.add_argument
    add("source", help="run folder, checkpoint, weights, or the word official (the preset's published file)")
    add("images", nargs="+", metavar="IMAGE", help="image, folder of images, pattern in quotes, or video")
    add("--framework", choices=(*ADAPTERS, BOTH), help="default: of a run all, of a checkpoint its own, else torch")
    add("--threshold", type=float, default=0.3, metavar="SCORE", help="lowest score, 0 to 1 (default: 0.3)")
    add("--json", type=Path, metavar="FILE", help="write COCO's JSON, for both frameworks FILE-torch and -jittor")
    add("--out", type=Path, metavar="DIR", help="write a picture with boxes for every image")
    add("--stride", type=int, default=1, metavar="N", help="every N-th frame of a video (default: 1)")
    add("--checkpoint", choices=("last", "best"), default="last", help="of a run folder (default: last)")
    add("-c", "--preset", "--config", dest="preset", metavar="NAME|FILE", help="model of a file of weights")
    add("--image-size", type=image_size, metavar="PX|HxW", help="default: that of the training, or the preset's")
    add("--device", choices=DEVICES, default="cpu", help="default: cpu")
    add("--kernels", choices=kernels.CHOICES, help="C++ operators or the formulas that define them")
    add("--python", action="append", default=[], metavar="NAME=PATH", help="interpreter of a framework's worker")
    add("--in-process", action="store_true", help="no workers, for a debugger")
    return parser
