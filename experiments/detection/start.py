"""The command that detects objects on images and videos, in either framework or in both side by side."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.command import COMPLETE, FAILED, Parser, require_positive
from experiments.detection.differences import Difference
from experiments.detection.options import Subject, add_model, read_model
from experiments.detection.pictures import Picture, find_files, is_video, pictures_of, video_decoder
from experiments.detection.results import Document, draw, rows
from experiments.detection.session import Looked, Session, open_session
from experiments.progress import Progress, say
from frameworks.detector import Found
from frameworks.errors import UserError
from reports.frameworks import style_of


@dataclass(frozen=True)
class Request(Subject):
    """A detection as it was asked for."""

    images: list[str] = field(default_factory=list)
    stride: int = 1
    json: Path | None = None
    out: Path | None = None


def start(arguments: list[str] | None) -> int:
    """Do what the arguments of experiments/detect.py ask for; returns the exit status. Raises UserError."""
    return run_detection(Request(**read_model(_parser().parse_args(arguments))))


def run_detection(request: Request) -> int:
    """Detect on everything that can be read, and write what was found even when interrupted; the exit status.

    Raises:
        UserError: unknown weights, no such image, a framework that cannot start, or a place that cannot be written.
    """
    require_positive(vars(request), "stride")
    request.check()
    paths = find_files(request.images)
    if any(map(is_video, paths)):
        video_decoder()
    _require_places(request, paths)
    with open_session(request.model(), request.machine) as session:
        job = Job(request, session)
        try:
            job.run(paths)
        finally:
            job.finish()
    return FAILED if job.skipped else COMPLETE


class Job:
    """Detects on one file after the other, tells what it finds, and keeps it for the JSON."""

    def __init__(self, request: Request, session: Session) -> None:
        self.request, self.session, self.classes = request, session, session.model.classes
        names = tuple(session.model.weights)
        self.documents = {name: Document(name, session.model, request.threshold) for name in names}
        self.done, self.skipped, self.objects = 0, list[str](), dict.fromkeys(names, 0)
        self.worst: list[Difference] = []
        self.drawn: set[str] = set()

    def run(self, paths: list[Path]) -> None:
        """Detect on these files; one that cannot be read is named and skipped."""
        total = None if any(map(is_video, paths)) else len(paths)
        with Progress("detecting", total, unit="image", waiting="decoding and detecting") as progress:
            for path in paths:
                for picture in self._pictures(path):
                    self._detect(picture)
                    progress.advance(numbers=f"{self.done} done")

    def _pictures(self, path: Path) -> Iterator[Picture]:
        try:
            yield from pictures_of(path, self.request.stride)
        except UserError as error:
            say(f"skipped: {error}")
            self.skipped.append(str(path))

    def _detect(self, picture: Picture) -> None:
        threshold = self.request.threshold
        looked = self.session.look(picture.image)
        found, apart = looked.above(threshold), looked.apart(threshold)
        self.worst += [apart] if apart else []
        _tell(self._lines(picture, looked, found, apart))
        self.done += 1
        for name, each in found.items():
            self.documents[name].add(picture, each, apart)
            self.objects[name] += len(each.scores_N)
        if self.request.out:
            draw(picture.image, found, self.classes, self.request.out / self._unused(picture.stem))

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
        _tell(
            [
                f"{self.done} image{'' if self.done == 1 else 's'}{skipped}; detections: {objects}",
                *_totals(self.worst),
            ]
        )
        if self.request.out:
            _tell([f"pictures: {self.request.out}"])

    def _lines(
        self, picture: Picture, looked: Looked, found: Mapping[str, Found], apart: Difference | None
    ) -> list[str]:
        counts = ", ".join(f"{style_of(name).label} {len(each.scores_N)}" for name, each in found.items())
        lines = [f"{picture}: {counts}" + (f"; {apart}" if apart else "")]
        if self.request.json or self.request.out:
            return lines
        return lines + rows(looked.every, self.classes, self.request.threshold)

    def _unused(self, stem: str) -> str:
        """A name for a drawing that no other one of this job has."""
        names = (f"{stem}{more}-detections.png" for more in ("", *(f"-{count}" for count in range(2, 10**6))))
        name = next(each for each in names if each not in self.drawn)
        self.drawn.add(name)
        return name


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
    add_model(parser)
    add: Any = parser.add_argument
    add("images", nargs="+", metavar="IMAGE", help="image, folder of images, pattern in quotes, or video")
    add("--json", type=Path, metavar="FILE", help="write COCO's JSON, for both frameworks FILE-torch and -jittor")
    add("--out", type=Path, metavar="DIR", help="write a picture with boxes for every image")
    add("--stride", type=int, default=1, metavar="N", help="every N-th frame of a video (default: 1)")
    return parser
