"""The benchmark command: arguments to a plan, timings to records, records to a report."""

import argparse
import dataclasses
import time
from pathlib import Path

from experiments.benchmarks.report import RECORDS, write_report
from experiments.benchmarks.timing import Plan, run
from experiments.command import COMPLETE, FAILED, Parser, parse_frameworks, parse_pythons
from experiments.record_writer import RecordWriter
from experiments.runs.host import GENERATED
from frameworks import ADAPTERS, JUDGES, REFERENCE
from frameworks.config import ExperimentSpec, preset
from frameworks.errors import UserError
from frameworks.hf_rtdetr.names import NAME, require_supported, require_transformers
from frameworks.shared import kernels

ENTRANTS = (*ADAPTERS, *JUDGES)


def start(arguments: list[str] | None) -> int:
    """Run the command line of experiments/benchmark.py; returns the exit status.

    Raises:
        UserError: wrong arguments, a missing framework, or frameworks that do not compute the same.
    """
    given = _parser().parse_args(arguments)
    plan, folder = make_plan(given), _claim(given.out)
    print(f"benchmark folder: {folder}", flush=True)
    with kernels.chosen(given.kernels), RecordWriter(folder / RECORDS) as writer:
        run(plan, writer, lambda line: print(line, flush=True))
        writer.sync()
    report = write_report(folder)
    print(f"{report.verdict}\nreport: {report.path}", flush=True)
    return FAILED if report.failures else COMPLETE


def make_plan(given: argparse.Namespace) -> Plan:
    """The plan that the parsed arguments describe. Raises UserError if it cannot be timed."""
    for name in ("rounds", "warm_up"):
        if getattr(given, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(given, name)}; expected 1 or more")
    names = parse_frameworks(given.frameworks, ENTRANTS)
    if REFERENCE not in names:
        raise UserError(f"--frameworks is {given.frameworks}; expected {REFERENCE} (the reference) among them")
    pythons = parse_pythons(given.python, names)
    specs = [_sized(preset(given.preset), side, given.batch_size) for side in sorted(set(given.image_size))]
    if NAME in names:
        require_transformers(pythons.get(NAME))
        require_supported(specs[0].model)
    return Plan(tuple(specs), names, given.rounds, given.warm_up, given.device, pythons)


def _sized(spec: ExperimentSpec, side: int, batch_size: int) -> ExperimentSpec:
    data = dataclasses.replace(spec.data, image_size=(side, side), batch_size=batch_size)
    tokens = sum((side // stride) ** 2 for stride in spec.model.backbone.out_strides)
    queries = spec.model.decoder.num_queries
    if tokens < queries:
        raise UserError(
            f"--image-size {side} gives {tokens} tokens, but {spec.name} selects {queries}: take a larger one"
        )
    return dataclasses.replace(spec, data=data)


def _claim(out: str | None) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = Path(out).expanduser().absolute() if out else GENERATED / f"benchmark-{stamp}"
    if (folder / RECORDS).exists():
        raise UserError(f"{folder} holds a benchmark already; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}") from None
    return folder


def _parser() -> Parser:
    parser = Parser(
        prog="python experiments/benchmark.py",
        description="Time a training step and an inference of both twins and of Hugging Face's RT-DETR.",
    )
    add = parser.add_argument
    add("--preset", default="rtdetr_r18vd", metavar="NAME", help="model and recipe (default: rtdetr_r18vd)")
    add("--image-size", type=int, nargs="+", default=[192, 320], metavar="PX", help="squares (default: 192 320)")
    add("--batch-size", type=int, default=2, metavar="N", help="default: 2")
    add("--rounds", type=int, default=12, metavar="N", help="timed calls of each (default: 12)")
    add("--warm-up", type=int, default=3, metavar="N", help="untimed calls of each before them (default: 3)")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    add("--kernels", choices=kernels.CHOICES, help="C++ operators or the formulas that define them (default: fast)")
    add("--frameworks", default=",".join(ENTRANTS), metavar="A,B", help=f"default: {','.join(ENTRANTS)}")
    add("--python", action="append", default=[], metavar="NAME=PATH", help="a worker's interpreter; repeatable")
    add("--out", metavar="DIR", help="default: a new folder under reports/generated")
    return parser
