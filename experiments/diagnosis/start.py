"""The command line of experiments/diagnose.py: two sides in worker processes, a record, a page."""

import argparse
import contextlib
import json
import sys
from pathlib import Path

from experiments.benchmarks.new_folder import new_folder
from experiments.command import COMPLETE, FAILED, Parser, parse_pythons
from experiments.diagnosis.diagnosis import Record, diagnose, one_limit, project_limit
from experiments.diagnosis.names import read_names
from experiments.diagnosis.page import summary, write_page
from experiments.diagnosis.sides import FrameworkSide, OwnSide, Side
from experiments.diagnosis.subject import make_subject, read_arrays
from experiments.weight_files.readers import read_weights
from frameworks import ADAPTERS, JUDGES
from frameworks.errors import UserError
from frameworks.files import user_path
from frameworks.judge.blame import Limit
from frameworks.workers.client import Worker, WorkerFailure, open_framework

SIDES = ("left", "right")
RECORD = "diagnosis.json"
KNOWN = [name for name in (*ADAPTERS, *JUDGES) if name != "official"]  # the official code traces no training pass
# Jittor has float32 constants in some float64 operators (1e-9 to 1e-7); a wrong epsilon of a norm shows as 5e-6.
OWN_LIMIT = 1e-6


def start(arguments: list[str] | None) -> int:
    """Run the command; returns COMPLETE where the two sides agree and FAILED where a culprit was found.

    Raises:
        UserError: wrong arguments, an adapter or weights that cannot be read, or a side that stops with an
            exception, whose traceback is printed first.
    """
    given = _parser().parse_args(arguments)
    own = _require_a_pair(given)
    with new_folder(given.out, "diagnosis", "a diagnosis", RECORD) as folder, contextlib.ExitStack() as stack:
        try:
            left, right = _own_sides(given, stack) if own else _framework_sides(given, stack)
            record = diagnose(left, right, given.dtype, _limit(given, own))
        except WorkerFailure as failure:
            if failure.kind == "exception":  # what a worker that crashed said is on the screen already
                print(failure.stderr_tail, file=sys.stderr)
            raise UserError(failure.message) from None
    record = _facts(given, own) | record
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{summary(record)}\npage: {write_page(folder / RECORD)}")
    return FAILED if record["failed"] else COMPLETE


def _parser() -> Parser:
    parser = Parser(
        prog="python experiments/diagnose.py", description="Find the first place where two models differ."
    )
    add = parser.add_argument
    what = f"FILE.py:NAME of an adapter, or one of {', '.join(KNOWN)}"
    add("--left", required=True, metavar="A", help=f"what is right: {what}")
    add("--right", required=True, metavar="B", help="what is compared with it: another of these")
    add("--weights", metavar="FILE", help="under the left's names (default: as the left is built, or drawn)")
    add("--inputs", metavar="FILE", help="inputs of an own pair, .npz or .safetensors (default: the left's)")
    add("--rename", type=Path, metavar="FILE.toml", help="the right's names, where an own pair's differ")
    add("--spec", default="tiny", metavar="NAME|FILE", help="model of this project (default: tiny)")
    size = {"type": int, "nargs": 2, "default": [96, 128], "metavar": ("H", "W")}
    add("--image-size", **size, help="of its images (default: 96 128)")
    add("--evaluation", action="store_true", help="in evaluation mode (default: in training mode)")
    add("--dtype", choices=("float64", "float32"), default="float64", help="default: float64")
    limit = f"largest error that is none (default: own pairs {OWN_LIMIT:g}, others as in the parity tests)"
    add("--limit", type=float, metavar="E", help=limit)
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    add("--python", action="append", default=[], metavar="SIDE=PATH", help="a worker's interpreter; repeatable")
    add("--out", metavar="DIR", help="default: a new folder under reports/generated")
    return parser


def _require_a_pair(given: argparse.Namespace) -> bool:
    """Whether both sides are a user's own. Raises UserError for one of each kind, or options of the other kind."""
    own = [":" in side for side in (given.left, given.right)]
    for side, name in zip(SIDES, (given.left, given.right), strict=True):
        if ":" not in name and name not in KNOWN:
            raise UserError(f"--{side} {name}: expected FILE.py:NAME or one of {', '.join(KNOWN)}")
    if own[0] != own[1]:
        raise UserError(
            f"--left {given.left} --right {given.right}: expected two adapters FILE.py:NAME or two of "
            f"{', '.join(KNOWN)}; write an adapter for the other side"
        )
    if not own[0] and (given.rename or given.inputs):
        raise UserError("--rename and --inputs are for own pairs: this project's frameworks share names and inputs")
    if given.limit is not None and not given.limit > 0:
        raise UserError(f"--limit is {given.limit:g}; expected a number above 0")
    return own[0]


def _limit(given: argparse.Namespace, own: bool) -> Limit:
    """The limit that --limit gives, or the one of this kind of pair."""
    if given.limit is not None:
        return one_limit(given.limit)
    return one_limit(OWN_LIMIT) if own else project_limit(given.dtype)


def _own_sides(given: argparse.Namespace, stack: contextlib.ExitStack) -> tuple[Side, Side]:
    """Workers with both adapters; weights and inputs are the left's, unless files give them."""
    pythons, rules = parse_pythons(given.python, SIDES), read_names(given.rename)
    workers = []
    for side, adapter in zip(SIDES, (given.left, given.right), strict=True):
        path, _, name = adapter.rpartition(":")
        where = f"{user_path(path).absolute()}:{name}"
        worker = Worker(side, where, given.device, pythons.get(side, sys.executable), None, _show)
        stack.callback(worker.close)
        workers.append(worker)
    left, right = workers
    weights = dict(read_weights(Path(given.weights)).arrays) if given.weights else left.request("own.weights")[1]
    inputs = read_arrays(given.inputs) if given.inputs else left.request("own.inputs")[1]
    if not inputs:
        raise UserError(f"--left {given.left} gives no inputs: write them into the adapter, or give --inputs FILE")
    training = not given.evaluation
    return OwnSide(left, weights, inputs, training, {}), OwnSide(right, weights, inputs, training, rules)


def _framework_sides(given: argparse.Namespace, stack: contextlib.ExitStack) -> tuple[Side, Side]:
    """Workers with both frameworks, on one subject."""
    pythons = parse_pythons(given.python, SIDES)
    subject = make_subject(given.spec, given.weights, tuple(given.image_size), training=not given.evaluation)
    sides = []
    for side, name in zip(SIDES, (given.left, given.right), strict=True):
        framework = stack.enter_context(
            open_framework(name, device=given.device, python=pythons.get(side), log=_show)
        )
        sides.append(FrameworkSide(framework, subject.case, subject.weights, subject.inputs, given.device))
    return sides[0], sides[1]


def _show(text: str) -> None:
    """Pass on what a worker says: what an adapter prints, and that Jittor is compiling."""
    print(text, end="", file=sys.stderr, flush=True)


def _facts(given: argparse.Namespace, own: bool) -> Record:
    """What the page says of the two sides and how they were run."""
    limit = _limit(given, own)
    limits = {"forward": limit("module forward", ""), "backward": limit("backward", "")}
    kept = {key: getattr(given, key) for key in ("left", "right", "dtype", "device")}
    spec = None if own else given.spec
    return kept | {"limits": limits, "spec": spec, "mode": "evaluation" if given.evaluation else "training"}
