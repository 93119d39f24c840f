"""Time one training step and one inference of both twins and of Hugging Face's RT-DETR, interleaved in one run.

    python experiments/benchmark.py --image-size 192 320 --batch-size 2 --rounds 12

Speed is recorded, never asserted. Exit status: 0 complete, 1 a framework failed (it is in the records), 2 an error
in what was asked for or found (one line on stderr), 130 interrupted.
"""

import argparse
import dataclasses
import sys
import time
from pathlib import Path
from typing import NoReturn

if __package__ in (None, ""):  # started as a file: Python put experiments/ on the path, not the checkout
    _HERE = Path(__file__).resolve().parent
    sys.path[:] = [str(_HERE.parent), *(entry for entry in sys.path if Path(entry).resolve() != _HERE)]

from experiments.benchmarks.report import RECORDS, write_report
from experiments.benchmarks.timing import REFERENCE, Plan, run
from experiments.record_writer import RecordWriter
from frameworks import ADAPTERS, JUDGES
from frameworks.config import ExperimentSpec, preset
from frameworks.config.validation import nearest
from frameworks.errors import UserError
from frameworks.hf_rtdetr.names import NAME, require_supported, require_transformers

ENTRANTS = (*ADAPTERS, *JUDGES)
GENERATED = Path(__file__).resolve().parent.parent / "reports" / "generated"
FAILED, WRONG, INTERRUPTED = 1, 2, 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    try:
        given = _parser().parse_args(arguments)
        plan, folder = make_plan(given), _claim(given.out)
        print(f"benchmark folder: {folder}", flush=True)
        with RecordWriter(folder / RECORDS) as writer:
            run(plan, writer, lambda line: print(line, flush=True))
            writer.sync()
        report = write_report(folder)
        print(f"{report.verdict}\nreport: {report.path}", flush=True)
        return FAILED if report.failures else 0
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        print("interrupted; what was timed is in the records", file=sys.stderr)
        return INTERRUPTED


def make_plan(given: argparse.Namespace) -> Plan:
    """What to time.

    Raises:
        UserError: nothing that can be timed.
    """
    for name in ("rounds", "warm_up"):
        if getattr(given, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(given, name)}; expected 1 or more")
    names = tuple(name.strip() for name in given.frameworks.split(","))
    for name in names:
        if name not in ENTRANTS:
            known = ", ".join(ENTRANTS)
            raise UserError(
                f"unknown framework {name!r}; known to the benchmark: {known}.{nearest(name, ENTRANTS)}"
            )
    if REFERENCE not in names or len(set(names)) != len(names):
        raise UserError(f"--frameworks is {given.frameworks}; expected {REFERENCE} (the reference), each name once")
    pythons = dict(_python_of(pair, names) for pair in given.python)
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


def _python_of(pair: str, names: tuple[str, ...]) -> tuple[str, str]:
    name, _, path = pair.partition("=")
    if name not in names or not path:
        raise UserError(f"--python is {pair!r}; expected NAME=PATH with a name of --frameworks {','.join(names)}")
    return name, str(Path(path).expanduser())


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


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python experiments/benchmark.py",
        description="Time a training step and an inference of both twins and of Hugging Face's RT-DETR.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--preset", default="rtdetr_r18vd", metavar="NAME", help="model and recipe (default: rtdetr_r18vd)")
    add("--image-size", type=int, nargs="+", default=[192, 320], metavar="PX", help="squares (default: 192 320)")
    add("--batch-size", type=int, default=2, metavar="N", help="default: 2")
    add("--rounds", type=int, default=12, metavar="N", help="timed calls of each (default: 12)")
    add("--warm-up", type=int, default=3, metavar="N", help="untimed calls of each before them (default: 3)")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    add("--frameworks", default=",".join(ENTRANTS), metavar="A,B", help=f"default: {','.join(ENTRANTS)}")
    add("--python", action="append", default=[], metavar="NAME=PATH", help="a worker's interpreter; repeatable")
    add("--out", metavar="DIR", help="default: a new folder under reports/generated")
    return parser


if __name__ == "__main__":
    sys.exit(main())
