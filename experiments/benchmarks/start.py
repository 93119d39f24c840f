"""The benchmark command: arguments to a plan, timings to records, records to a page."""

import argparse
import dataclasses
from pathlib import Path

from experiments.benchmarks.cells import find, read_records, read_rows
from experiments.benchmarks.control import noisy_rows
from experiments.benchmarks.new_folder import new_folder
from experiments.benchmarks.page import control_text, timed_rows
from experiments.benchmarks.publish import RECORDS, publish, write_report
from experiments.benchmarks.session import Plan, place_of
from experiments.benchmarks.timing import run, run_again
from experiments.command import COMPLETE, FAILED, Parser, parse_frameworks, parse_pythons, require_positive
from frameworks import ADAPTERS, JUDGES, REFERENCE
from frameworks.config import ExperimentSpec, preset
from frameworks.errors import UserError
from frameworks.files import user_path
from frameworks.hf_rtdetr.names import NAME, require_supported, require_transformers
from frameworks.official_rtdetr.source import NAME as OFFICIAL
from frameworks.official_rtdetr.source import VARIABLE, configuration_file, require_checkout
from reports.record_writer import RecordWriter

ENTRANTS = tuple(name for name in (*ADAPTERS, *JUDGES) if name != OFFICIAL)
PRESETS = ["rtdetr_r18vd", "rtdetr_r50vd"]
SIZES, BATCHES = [160, 320, 640, 640], [4, 2, 1, 2]
PIXELS, MOST = 640, 4  # default batch of other sizes: as many images side by side as give one of 640 px, at most 4


def start(arguments: list[str] | None) -> int:
    """Run the command line of experiments/benchmark.py; returns the exit status.

    Raises:
        UserError: wrong arguments, a missing framework, or frameworks that do not compute the same.
    """
    given = _parser().parse_args(arguments)
    plan = make_plan(given)
    if given.again:
        return _time_again(plan, user_path(given.again), publishes=given.publish)
    with new_folder(given.out, "benchmark", "a benchmark", RECORDS) as folder:
        return _time(plan, folder, publishes=given.publish)


def _time(plan: Plan, folder: Path, *, publishes: bool) -> int:
    print(f"benchmark folder: {folder}", flush=True)
    with RecordWriter(folder / RECORDS) as writer:
        run(plan, writer, say)
        writer.sync()
    return _report(folder, publishes=publishes)


def _time_again(plan: Plan, folder: Path, *, publishes: bool) -> int:
    """Time again what the control of a finished benchmark calls noisy. Raises UserError if that is nothing."""
    noisy = {row.place for row in noisy_rows(timed_rows(read_records(folder / RECORDS), folder / RECORDS))}
    specs = tuple(spec for spec in plan.specs if tuple(place_of(spec).values()) in noisy)
    if not specs:
        raise UserError(f"{folder}: the control is quiet in every size of this plan; nothing to time again")
    with RecordWriter(folder / RECORDS) as writer:
        run_again(dataclasses.replace(plan, specs=specs), writer, say)
        writer.sync()
    return _report(folder, publishes=publishes)


def say(line: str) -> None:
    """Print a line of progress on standard output at once."""
    print(line, flush=True)


def _report(folder: Path, *, publishes: bool) -> int:
    report = write_report(folder)
    records = read_records(folder / RECORDS)
    print(f"{control_text(read_rows(records))}\nreport: {report}", flush=True)
    if publishes:
        return publish(folder)
    return FAILED if find(records, "failure") else COMPLETE


def make_plan(given: argparse.Namespace) -> Plan:
    """The plan that the parsed arguments describe. Raises UserError if it cannot be timed."""
    require_positive(vars(given), "rounds", "warm_up")
    names = parse_frameworks(given.frameworks, ENTRANTS)
    if REFERENCE not in names:
        raise UserError(f"--frameworks is {given.frameworks}; expected {REFERENCE} (the reference) among them")
    variables = _official(given.entrant, given.preset)
    names += (OFFICIAL,) * bool(variables)
    pythons = parse_pythons(given.python, names)
    batches = _batches(given.image_size, given.batch_size)
    specs = tuple(_sized(preset(name), side, batch) for name in given.preset for side, batch in batches)
    plan = Plan(specs, names, given.rounds, given.minutes, given.warm_up, given.device, pythons, variables)
    if NAME in names:
        require_transformers(pythons.get(NAME))
        for spec in plan.models:
            require_supported(spec.model)
    return plan


def _official(entrant: str | None, presets: list[str]) -> dict[str, str]:
    """Variables that say where the official code is; none without --entrant.

    Raises:
        UserError: not official=PATH, no official code there, or it lacks a preset's configuration file.
    """
    if not entrant:
        return {}
    name, _, path = entrant.partition("=")
    if name != OFFICIAL or not path:
        raise UserError(f"--entrant {entrant}: expected {OFFICIAL}=PATH of a checkout's rtdetr_pytorch folder")
    folder = require_checkout(user_path(path))
    for preset_name in presets:
        configuration_file(folder, preset_name)
    return {VARIABLE: str(folder)}


def _batches(asked: list[int] | None, given: list[int] | None) -> list[tuple[int, int]]:
    """Each image size with its batch size. Raises UserError unless there is one batch size, or one for each."""
    sides = asked or SIZES
    batches = given or (BATCHES if asked is None else [max(1, min(MOST, PIXELS // max(1, side))) for side in sides])
    if len(batches) not in (1, len(sides)):
        raise UserError(
            f"--batch-size has {len(batches)} values for {len(sides)} of --image-size; give one, or one for each"
        )
    return list(zip(sides, batches * len(sides) if len(batches) == 1 else batches, strict=True))


def _sized(spec: ExperimentSpec, side: int, batch_size: int) -> ExperimentSpec:
    data = dataclasses.replace(spec.data, image_size=(side, side), batch_size=batch_size)
    tokens = sum((side // stride) ** 2 for stride in spec.model.backbone.out_strides)
    queries = spec.model.decoder.num_queries
    if tokens < queries:
        raise UserError(
            f"--image-size {side} gives {tokens} tokens, but {spec.name} selects {queries}: take a larger one"
        )
    return dataclasses.replace(spec, data=data)


def _parser() -> Parser:
    parser = Parser(
        prog="python experiments/benchmark.py",
        description="Time a training step and an inference of both twins and of Hugging Face's RT-DETR.",
    )
    add = parser.add_argument
    add("--preset", nargs="+", default=PRESETS, metavar="NAME", help=f"default: {' '.join(PRESETS)}")
    add("--image-size", type=int, nargs="+", metavar="PX", help="squares (default: 160 320 640 640)")
    add(
        "--batch-size",
        type=int,
        nargs="+",
        metavar="N",
        help="one, or one for each size (default: 640 / PX, at most 4; without --image-size 4 2 1 2)",
    )
    add("--rounds", type=int, default=20, metavar="N", help="most timed calls of each (default: 20)")
    add("--minutes", type=float, default=1.5, metavar="M", help="when a size's rounds end, after 5 (default: 1.5)")
    add("--warm-up", type=int, default=2, metavar="N", help="untimed calls of each before them (default: 2)")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    add("--frameworks", default=",".join(ENTRANTS), metavar="A,B", help=f"default: {','.join(ENTRANTS)}")
    add("--entrant", metavar="official=PATH", help="time the official code too: its rtdetr_pytorch folder")
    add("--python", action="append", default=[], metavar="NAME=PATH", help="a worker's interpreter; repeatable")
    add("--publish", action="store_true", help="write docs/speed.md, unless the machine was too noisy")
    add("--again", metavar="FOLDER", help="time again the sizes of this benchmark whose control was too noisy")
    add("--out", metavar="DIR", help="default: a new folder under reports/generated")
    return parser
