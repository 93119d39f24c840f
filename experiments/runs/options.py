"""The command line of the main experiment, checked before anything is touched."""

import argparse
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.command import Parser, parse_frameworks, parse_pythons
from experiments.runs.check import CheckData, check_of
from frameworks import ADAPTERS
from frameworks.config import RECIPES
from frameworks.errors import UserError
from frameworks.shared import kernels

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Options:
    """A new run as it was asked for; None is what preset and recipe say."""

    subset: int
    data: str | None = None
    frameworks: tuple[str, ...] = tuple(ADAPTERS)
    preset: str = "rtdetr_r18vd"
    device: str = "cpu"
    kernels: str | None = None
    seed: int = 0
    epochs: int | None = None
    image_size: tuple[int, int] | None = None  # height, width
    batch_size: int | None = None
    out: Path | None = None
    pythons: dict[str, str] = field(default_factory=dict)
    in_process: bool = False
    weights: str | None = None
    partial_weights: bool = False
    backbone: str | None = None
    recipe: str | None = None
    update: tuple[str, ...] = ()  # key=value


@dataclass(frozen=True)
class Resume:
    """An existing run to go on with, exactly as it was started."""

    folder: Path


def parse_options(arguments: list[str]) -> Options | Resume | CheckData:
    """Read the command line.

    Raises:
        UserError: anything that no run can be made of.
    """
    given = vars(_parser().parse_args(arguments))
    if given.pop("check_data", False):
        return check_of(given)
    if "resume" in given:
        folder = given.pop("resume")
        if given:
            others = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise UserError(f"--resume goes on with a run as it was started; leave out {others}")
        return Resume(Path(folder))
    if "subset" not in given:
        raise UserError("--subset N is needed: the number of training images (or --resume DIR); see --help")
    options = Options(**_converted(given))
    _check(options)
    return options


def _parser() -> Parser:
    parser = Parser(
        prog="python experiments/run.py",
        description="Train RT-DETR in each framework on the same images from the same weights, evaluate, report.",
        argument_default=argparse.SUPPRESS,  # only given options, so that --resume can refuse them
    )
    add = parser.add_argument
    add("--subset", type=int, metavar="N", help="training images, and up to as many validation images")
    add("--data", metavar="DIR", help="COCO or VOC folder (default: $COCO_ROOT, else a download, else shapes)")
    add("--check-data", action="store_true", help="account for every object of --data and train nothing")
    add("--frameworks", metavar="A,B", help=f"which, in this order (default: {','.join(ADAPTERS)})")
    add("--epochs", type=int, metavar="N", help="default: those of the recipe")
    add("--seed", type=int, help="of subset, weights, order, flips and noise (default: 0)")
    add("--out", metavar="DIR", help="run folder (default: a new one under reports/generated)")
    add("--preset", metavar="NAME|FILE", help="model and recipe: a preset or a YAML file (default: rtdetr_r18vd)")
    add("--device", choices=DEVICES, help="default: cpu")
    add("--kernels", choices=kernels.CHOICES, help="C++ operators or the formulas that define them (default: fast)")
    recipes = ", ".join(RECIPES)
    add(
        "--recipe",
        "--budget",
        metavar="NAME|FILE",
        help=f"{recipes}, or a YAML file (default: see docs/training.md)",
    )
    add("--image-size", metavar="PX|HxW", help="height and width in pixels (default: that of the recipe)")
    add("--batch-size", type=int, metavar="N", help="default: that of the recipe")
    add("-u", "--update", nargs="+", action="extend", metavar="KEY=VALUE", help="a field, as in recipe.epochs=50")
    add("--python", action="append", metavar="NAME=PATH", help="interpreter of a framework's worker; repeatable")
    add("--weights", metavar="FILE", help="initial weights, or the word official (default: drawn from the seed)")
    add("--partial-weights", action="store_true", help="take what fits from --weights, draw the rest from the seed")
    add("--backbone", metavar="FILE", help="the backbone alone from a file, or official: its ImageNet weights")
    add("--in-process", action="store_true", help="no workers, for a debugger")
    add("--resume", metavar="DIR", help="go on with an interrupted run; no other option goes with it")
    return parser


def _converted(given: dict[str, Any]) -> dict[str, Any]:
    values = dict(given)
    if "frameworks" in values:
        values["frameworks"] = parse_frameworks(values["frameworks"], ADAPTERS)
    if "image_size" in values:
        values["image_size"] = _image_size(values["image_size"])
    if "update" in values:
        values["update"] = tuple(values["update"])
    if "out" in values:
        values["out"] = Path(values["out"]).expanduser()
    if "python" in values:
        values["pythons"] = parse_pythons(values.pop("python"), values.get("frameworks", tuple(ADAPTERS)))
    return values


def _image_size(text: str) -> tuple[int, int]:
    """Height and width in pixels from "320" or "320x640"."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() for side in sides):
        raise UserError(f"--image-size is {text!r}; expected pixels, as in 320, or height x width, as in 320x640")
    return int(sides[0]), int(sides[-1])


def _check(options: Options) -> None:
    for name in ("subset", "epochs", "batch_size"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} is {value}; expected 1 or more")
    if options.seed < 0:
        raise UserError(f"--seed is {options.seed}; expected 0 or more")
    if options.partial_weights and options.weights is None:
        raise UserError("--partial-weights says how to take --weights FILE; give that, too")
    if options.backbone is not None and options.weights is not None:
        advice = "experiments/weights.py inject-backbone --into puts a backbone into a checkpoint"
        raise UserError(f"--backbone and --weights both say how the backbone starts; give one of them ({advice})")
    if options.pythons and options.in_process:
        raise UserError("--python names an interpreter for a worker, but --in-process starts none; leave one out")
    for name, path in options.pythons.items():
        if shutil.which(path) is None:
            raise UserError(f"--python {name}={path}: there is no such program to run; give the path of a python")
