"""The command line of experiments/weights.py."""

import argparse
from pathlib import Path
from typing import NoReturn

from experiments.weight_files.inject import STAGES
from experiments.weight_files.official import OFFICIAL
from experiments.weight_files.writers import TARGETS
from frameworks.errors import UserError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Raises UserError for anything that is no command."""
    parser = _Parser(prog="python experiments/weights.py", description="Weights in and out.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _convert(commands.add_parser("convert", help="read in one format, write in another", allow_abbrev=False))
    _inject(commands.add_parser("inject-backbone", help="backbone weights from elsewhere", allow_abbrev=False))
    inspect = commands.add_parser("inspect", help="what a file is and which preset it fits", allow_abbrev=False)
    _source(inspect)
    verify = commands.add_parser("verify", help="whether a file is a whole model", allow_abbrev=False)
    _source(verify)
    verify.add_argument("--against", metavar="OTHER", help="compare bit by bit with this file")
    verify.add_argument("--forward", action="store_true", help="run both twins on one image")
    return parser.parse_args(arguments)


def _convert(parser: argparse.ArgumentParser) -> None:
    _source(parser)
    _target(parser)
    parser.add_argument("out", metavar="OUT", type=_path, help="the suffix says the format, unless --to does")


def _inject(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("backbone", metavar="BACKBONE", type=_path, help="file with the backbone")
    parser.add_argument("--preset", metavar="NAME", required=True, help="whose backbone it becomes")
    into = parser.add_mutually_exclusive_group(required=True)
    into.add_argument("--into", metavar="CHECKPOINT", type=_path, help="replace the backbone of this whole model")
    into.add_argument("--tuning", action="store_true", help="write the backbone alone")
    parser.add_argument("--out", metavar="OUT", type=_path, required=True)
    parser.add_argument(
        "--stages", type=lambda text: tuple(part.strip() for part in text.split(",")), default=STAGES,
        metavar="A,B", help=f"which parts (default: {','.join(STAGES)})",
    )  # fmt: skip
    parser.add_argument("--prefix", help="what stands before every name of the backbone in the file")
    parser.add_argument("--map", metavar="FILE.json", type=_path, help='a name map, {"rules": [[theirs, ours]]}')
    _reading(parser)
    _target(parser)


def _source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="FILE", help=f"or the word {OFFICIAL}: the preset's published checkpoint")
    parser.add_argument("--preset", metavar="NAME", help="default: the one that fits")
    _reading(parser)


def _reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trust", action="store_true", help="let a pickle run what it wants")
    parser.add_argument("--no-ema", action="store_true", help="not the averaged weights, which come first")


def _target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", choices=TARGETS, help="format to write (default: by the suffix)")
    parser.add_argument("--partial", action="store_true", help="take what fits, and say what does not")
    parser.add_argument("--force", action="store_true", help="overwrite")


def _path(text: str) -> Path:
    return Path(text).expanduser()
