"""Prints specs: python experiments/spec.py list, or show NAME|FILE [--diff PRESET].

A FILE is YAML of our own form, or a config of the official repository with its includes. `show` prints the complete
spec in our own form; keys of an official file that are not in it are listed on standard error. Exit status: 0, or
2 for a wrong name, file or option (one line on standard error).
"""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

if __package__ in (None, ""):  # started as a file: Python put experiments/ on the path, not the checkout
    _HERE = Path(__file__).resolve().parent
    sys.path[:] = [str(_HERE.parent), *(entry for entry in sys.path if Path(entry).resolve() != _HERE)]

from frameworks.config import (
    ALIASES,
    PRESETS,
    ExperimentSpec,
    dump_changes,
    dump_yaml,
    load_with_account,
    preset,
)
from frameworks.errors import UserError
from frameworks.state import backbones

WRONG = 2


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    try:
        given = _parser().parse_args(arguments)
        if given.command == "list":
            print("\n".join(_line(preset(name)) for name in (*PRESETS, *ALIASES)))
        else:
            _show(given.spec, given.diff)
        return 0
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return WRONG


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python experiments/spec.py", description="Print specs.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="list|show")
    commands.add_parser("list", help="the presets and their aliases, one line each")
    show = commands.add_parser("show", help="one spec as complete YAML", allow_abbrev=False)
    show.add_argument("spec", metavar="NAME|FILE", help="a preset, our YAML, or an official YAML file")
    show.add_argument("--diff", metavar="PRESET", help="only what differs, as YAML that inherits from PRESET")
    return parser


def _line(spec: ExperimentSpec) -> str:
    model, recipe, data = spec.model, spec.recipe, spec.data
    decoder = model.decoder
    sampling = f"points {'-'.join(map(str, decoder.num_points))}"
    if decoder.cross_attn_method != "default":
        sampling += f" {decoder.cross_attn_method}"
    backbone = backbones.summary(model.backbone)
    warm_up = f", warm-up {recipe.warmup_steps}" if recipe.warmup_steps else ""
    return (
        f"{spec.name:<22} {model.version}  {backbone:<27} encoder {model.encoder.hidden_dim:<3}  "
        f"decoder {decoder.num_layers} layers, {sampling:<21}  {recipe.epochs:>3} epochs of {data.dataset}, "
        f"batches of {data.batch_size}{warm_up}"
    )


def _show(name: str, base: str | None) -> None:
    loaded = load_with_account(name)
    # The text is complete before anything is printed, so that an error prints nothing else.
    text = dump_yaml(loaded.spec) if base is None else dump_changes(loaded.spec, preset(base))
    for entry in loaded.left_aside:
        print(f"left aside: {entry.key}: {entry.why}", file=sys.stderr)
    print(text, end="")


if __name__ == "__main__":
    sys.exit(main())
