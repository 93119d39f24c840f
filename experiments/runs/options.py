"""The command line of the main experiment, checked before anything is touched."""

import argparse
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.command import Parser, image_size, parse_frameworks, parse_pythons, require_positive
from experiments.runs.check import CheckData, check_of
from experiments.runs.monitoring import Monitoring
from frameworks import ADAPTERS
from frameworks.config import RECIPES
from frameworks.errors import UserError
from frameworks.files import user_path
from frameworks.shared import kernels

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Options:
    """A new run as it was asked for; None is what preset and recipe say."""

    subset: int | None  # None: every image of the data
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
    without_backbone: bool = False
    backbone: str | None = None
    recipe: str | None = None
    update: tuple[str, ...] = ()  # key=value
    use_amp: str | bool = False  # a dtype; True: that of the spec
    controls: int | None = None
    monitoring: Monitoring = field(default_factory=Monitoring)

    @property
    def trained_controls(self) -> int:
        """Number of controls: one, unless it was said or there is only one framework and nothing to judge."""
        return self.controls if self.controls is not None else int(len(self.frameworks) > 1)


@dataclass(frozen=True)
class Resume:
    """An existing run to go on with, as it was started but for the place of its data and more epochs."""

    folder: Path
    data: str | None = None
    epochs: int | None = None


def parse_options(arguments: list[str]) -> Options | Resume | CheckData:
    """Read the command line of experiments/run.py.

    Raises:
        UserError: anything that no run can be made of.
    """
    parser = options_parser(
        "python experiments/run.py",
        "Train RT-DETR in each framework on the same images from the same weights, evaluate, report.",
    )
    parser.add_argument("--frameworks", metavar="A,B", help=f"which, in this order (default: {','.join(ADAPTERS)})")
    parser.add_argument(
        "--controls",
        type=int,
        metavar="N",
        help="the first framework again, N times, from weights moved by one unit in the last place (default: 1)",
    )
    given = vars(parser.parse_args(arguments))
    if not given.keys() & {"resume", "subset", "check_data", "overfit"}:
        raise UserError("--subset N is needed: the number of training images (or --resume DIR); see --help")
    return interpret(given)


def interpret(given: dict[str, Any]) -> Options | Resume | CheckData:
    """Options from what a parser of ``options_parser`` returned. Raises UserError for values that no run has."""
    if given.pop("check_data", False):
        return check_of(given)
    if "resume" in given:
        return _resume(given)
    options = Options(**_converted(given))
    _check(options)
    return options


def options_parser(prog: str, description: str) -> Parser:
    """A parser of the options that run.py and train.py share; it returns only those that were given."""
    parser = Parser(
        prog=prog,
        description=description,
        argument_default=argparse.SUPPRESS,  # so that --resume can refuse what does not go with it
    )
    add = parser.add_argument
    add("--subset", type=int, metavar="N", help="training images, and up to as many validation images")
    add("--overfit", type=int, metavar="N", help="learn N images by heart, with their AP every 10 epochs")
    add("--data", metavar="DIR", help="COCO or VOC folder (default: $COCO_ROOT, else a download, else shapes)")
    add("--check-data", action="store_true", help="account for every object of --data and train nothing")
    add("--seed", type=int, help="of subset, weights, order, flips and noise (default: 0)")
    add("--out", "--output-dir", dest="out", metavar="DIR", help="run folder (default: new in reports/generated)")
    add("-c", "--preset", "--config", dest="preset", metavar="NAME|FILE", help="or YAML (default: rtdetr_r18vd)")
    add("--device", choices=DEVICES, help="default: cpu")
    add("--kernels", choices=kernels.CHOICES, help="C++ operators or the formulas that define them (default: fast)")
    add("--python", action="append", metavar="NAME=PATH", help="interpreter of a framework's worker; repeatable")
    add("--weights", metavar="FILE", help="initial weights, or the word official (default: drawn from the seed)")
    add("--partial-weights", action="store_true", help="take what fits from --weights, draw the rest from the seed")
    add("--without-backbone", action="store_true", help="with --partial-weights: even if no backbone is in it")
    add("--backbone", metavar="FILE", help="the backbone alone from a file, or official: its ImageNet weights")
    add("--in-process", action="store_true", help="no workers, for a debugger")
    add("-r", "--resume", metavar="DIR", help="go on with a run; --data NEW if its images moved, --epochs for more")
    _add_recipe(parser)
    _add_monitoring(parser)
    return parser


def _add_recipe(parser: Parser) -> None:
    """Add the options that change the spec of a run."""
    add = parser.add_argument
    add(
        "--recipe",
        "--budget",
        metavar="NAME|FILE",
        help=f"{', '.join(RECIPES)}, or a YAML file (default: see docs/training.md)",
    )
    add(
        "--image-size",
        type=image_size,
        metavar="PX|HxW",
        help="height and width in pixels (default: that of the recipe)",
    )
    add("--epochs", type=int, metavar="N", help="default: those of the recipe")
    add("--batch-size", type=int, metavar="N", help="default: that of the recipe")
    add("-u", "--update", nargs="+", action="extend", metavar="KEY=VALUE", help="a field, as in recipe.epochs=50")
    add(
        "--use-amp",
        nargs="?",
        const=True,
        choices=("bfloat16", "float16"),
        help="mixed precision, in frameworks that have it; without a dtype bfloat16 (default: float32)",
    )


def _add_monitoring(parser: Parser) -> None:
    """Add the options that are the fields of ``Monitoring``."""
    add = parser.add_argument
    add("--validate-every", type=int, metavar="K", help="AP and loss of the validation images every K epochs, too")
    add("--keep-every", type=int, metavar="K", help="keep the checkpoints of every K-th epoch, too")
    add("--checkpoint-minutes", type=float, metavar="M", help="most time between two (default: 5; 0: every step)")
    add("--tensorboard", action="store_true", help="also write files for TensorBoard")


def _resume(given: dict[str, Any]) -> Resume:
    changes = {name: given[name] for name in ("data", "epochs") if name in given}
    if others := [name for name in given if name not in ("resume", *changes)]:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in others)
        raise UserError(f"--resume goes on with a run as it was started (with --data, --epochs); leave out {names}")
    return Resume(user_path(given["resume"]).absolute(), **changes)


def _converted(given: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {"subset": None} | (_overfitting(given) if "overfit" in given else given)
    if "frameworks" in values:
        values["frameworks"] = parse_frameworks(values["frameworks"], ADAPTERS)
    if "update" in values:
        values["update"] = tuple(values["update"])
    if "out" in values:
        values["out"] = user_path(values["out"])
    if "python" in values:
        values["pythons"] = parse_pythons(values.pop("python"), values.get("frameworks", tuple(ADAPTERS)))
    monitoring = {name: values.pop(name) for name in Monitoring.names() if name in values}
    return values | {"monitoring": Monitoring(**monitoring)}


def _overfitting(given: dict[str, Any]) -> dict[str, Any]:
    """What ``--overfit N`` stands for, under what else was given."""
    if "subset" in given:
        raise UserError("--overfit N is the number of images, and --subset is given, too; leave one out")
    usual = {"recipe": "overfit", "validate_every": 10, "validate_on": "train"}
    return (
        usual | {name: value for name, value in given.items() if name != "overfit"} | {"subset": given["overfit"]}
    )


def _check(options: Options) -> None:
    require_positive(vars(options), "subset", "epochs", "batch_size")
    if options.seed < 0:
        raise UserError(f"--seed is {options.seed}; expected 0 or more")
    if options.trained_controls < 0:
        raise UserError(f"--controls is {options.controls}; expected 0 (none) or more")
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
