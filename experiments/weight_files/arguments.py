"""The command line of experiments/weights.py."""

import argparse
from pathlib import Path

from experiments.command import Parser, image_size
from experiments.weight_files.inject import STAGES
from experiments.weight_files.official_checkpoints import OBJECTS365, OFFICIAL
from experiments.weight_files.trained import CHECKPOINTS
from experiments.weight_files.writers import TARGETS
from frameworks import ADAPTERS
from frameworks.files import user_path


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Parse a command line: ``command`` and the options of that command. Raises UserError if it is wrong."""
    parser = Parser(prog="python experiments/weights.py", description="Weights in and out.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _convert(commands.add_parser("convert", help="read a file, write another format"))
    _export(commands.add_parser("export", help="write an ONNX file, and check what it computes"))
    _inject(commands.add_parser("inject-backbone", help="use another file's backbone"))
    _source(commands.add_parser("inspect", help="what a file is and which preset it fits"))
    verify = commands.add_parser("verify", help="whether a file is a whole model")
    _source(verify)
    verify.add_argument("--against", metavar="OTHER", help="compare bit by bit with this file")
    verify.add_argument("--forward", action="store_true", help="compare the frameworks' predictions on one image")
    return parser.parse_args(arguments)


def _convert(parser: argparse.ArgumentParser) -> None:
    _source(parser)
    _target(parser)
    parser.add_argument(
        "--without-backbone", action="store_true", help="with --partial: even if nothing of the backbone fits"
    )
    parser.add_argument("out", metavar="OUT", type=_path, help="its suffix names the format, unless --to does")


def _export(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("source", metavar="RUN|FILE", help=f"a run folder, a checkpoint, weights, or the word {OFFICIAL}")
    add("out", metavar="OUT.onnx", type=_path)
    add("--preset", metavar="NAME|FILE", help="model of a file of weights (default: the one that fits)")
    add("--framework", choices=ADAPTERS, help="whose checkpoint of a run folder (default: the first's)")
    add("--checkpoint", choices=CHECKPOINTS, default="last", help="of a run folder (default: last)")
    add("--image-size", type=image_size, metavar="PX|HxW", help="fixed in the file (default: that of the training)")
    add("--force", action="store_true", help="overwrite")
    _reading(parser)


def _inject(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("backbone", metavar="BACKBONE", help=f"a file, or the word {OFFICIAL}: the ImageNet backbone of the preset")
    add("--preset", metavar="NAME|FILE", required=True, help="the preset or YAML file that gets the backbone")
    into = parser.add_mutually_exclusive_group(required=True)
    into.add_argument(
        "--into", metavar="CHECKPOINT", help=f"replace the backbone of this model, a file or {OFFICIAL}"
    )
    into.add_argument("--tuning", action="store_true", help="write the backbone alone")
    add("--out", metavar="OUT", type=_path, required=True)
    stages = ",".join(STAGES)
    add("--stages", type=_names, default=STAGES, metavar="A,B", help=f"parts to take (default: {stages})")
    add("--prefix", help="what stands before every name of the backbone in the file")
    add("--map", metavar="FILE.json", type=_path, help='a name map, {"rules": [[name in the file, our name]]}')
    _reading(parser)
    _target(parser)


def _source(parser: argparse.ArgumentParser) -> None:
    what = f"a file, or the word {OFFICIAL} or {OBJECTS365}: the preset's published checkpoint"
    parser.add_argument("source", metavar="FILE", help=what)
    parser.add_argument(
        "--preset", metavar="NAME|FILE", help="a preset or a YAML file (default: the preset that fits)"
    )
    _reading(parser)


def _reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trust", action="store_true", help="let a pickle run any code that it contains")
    parser.add_argument("--no-ema", action="store_true", help="do not prefer the averaged (EMA) weights")


def _target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", choices=TARGETS, help="format to write (default: by the suffix)")
    parser.add_argument("--partial", action="store_true", help="take what fits, and list what does not")
    parser.add_argument("--force", action="store_true", help="overwrite")


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _path(text: str) -> Path:
    return user_path(text)
