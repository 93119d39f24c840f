"""The options that detect.py and demo.py have in common: which model, in which frameworks, on which machine."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from experiments.command import Parser, parse_pythons
from experiments.detection.model import Model, choose_model
from experiments.runs.options import DEVICES, image_size
from experiments.runs.stepper import Machine
from frameworks import ADAPTERS
from frameworks.errors import UserError
from frameworks.shared import kernels

BOTH = "both"
THRESHOLD = 0.3


@dataclass(frozen=True)
class Subject:
    """What detects: weights, frameworks and machine, as they were asked for."""

    source: str
    framework: str | None = None
    checkpoint: str = "last"
    preset: str | None = None
    threshold: float = THRESHOLD
    image_size: tuple[int, int] | None = None  # height, width
    device: str = "cpu"
    kernels: str | None = None
    pythons: Mapping[str, str] = field(default_factory=dict)
    in_process: bool = False

    @property
    def machine(self) -> Machine:
        """Where it computes."""
        return Machine(self.device, self.kernels, self.pythons, self.in_process)

    def check(self) -> None:
        """Raise UserError for a threshold that no score has."""
        if not 0 <= self.threshold <= 1:
            raise UserError(f"--threshold is {self.threshold:g}; expected a score from 0 to 1")

    def model(self) -> Model:
        """Read the weights. Raises UserError as ``choose_model`` does."""
        both = self.framework == BOTH
        wanted = None if self.framework is None else tuple(ADAPTERS) if both else (self.framework,)
        return choose_model(
            self.source,
            preset=self.preset,
            wanted=wanted,
            checkpoint=self.checkpoint,
            image_size=self.image_size,
        )


def add_model(parser: Parser, framework: str | None = None) -> None:
    """Add the options of ``Subject``; ``framework`` is the default."""
    usual = framework or "of a run all, of a checkpoint its own, else torch"
    add: Any = parser.add_argument
    add("source", help="run folder, checkpoint, weights, or the word official (the preset's published file)")
    add("--framework", choices=(*ADAPTERS, BOTH), default=framework, help=f"default: {usual}")
    add("--threshold", type=float, default=THRESHOLD, metavar="SCORE", help=f"lowest score (default: {THRESHOLD})")
    add("--checkpoint", choices=("last", "best"), default="last", help="of a run folder (default: last)")
    add("-c", "--preset", "--config", dest="preset", metavar="NAME|FILE", help="model of a file of weights")
    add("--image-size", type=image_size, metavar="PX|HxW", help="default: that of the training, or the preset's")
    add("--device", choices=DEVICES, default="cpu", help="default: cpu")
    add("--kernels", choices=kernels.CHOICES, help="C++ operators or the formulas that define them")
    add("--python", action="append", default=[], metavar="NAME=PATH", help="interpreter of a framework's worker")
    add("--in-process", action="store_true", help="no workers, for a debugger")


def read_model(given: argparse.Namespace) -> dict[str, Any]:
    """The options as fields of ``Subject``. Raises UserError for a wrong --python."""
    values = vars(given)
    return values | {"pythons": parse_pythons(values.pop("python"), tuple(ADAPTERS))}
