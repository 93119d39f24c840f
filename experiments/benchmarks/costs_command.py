"""The command that says what the parts of a model cost, and what each decoder layer of a run gives."""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from experiments.benchmarks.early_exit import Exit, measure_exits
from experiments.benchmarks.environment import environment_record
from experiments.benchmarks.latency import latency_table, measure_latency
from experiments.benchmarks.module_costs import measure, parts_of
from experiments.benchmarks.new_folder import new_folder
from experiments.benchmarks.start import ENTRANTS, say
from experiments.benchmarks.texts import machine
from experiments.command import COMPLETE, Parser, image_size, parse_frameworks, require_positive
from experiments.runs.host import now
from experiments.runs.options import DEVICES
from frameworks import ADAPTERS, REFERENCE
from frameworks.config import ExperimentSpec, load_spec
from frameworks.errors import UserError
from frameworks.files import write_atomically
from frameworks.hf_rtdetr.names import NAME, require_supported, require_transformers
from frameworks.workers.client import WorkerFailure
from reports import formatting as show

RECORD, PAGE, FIGURE = "costs.json", "costs.md", "costs.png"


def start(arguments: list[str] | None) -> int:
    """Run the command line of experiments/costs.py; returns the exit status. Raises UserError."""
    given = _parser().parse_args(arguments)
    require_positive(vars(given), "rounds", "batch_size")
    names = parse_frameworks(given.frameworks, ENTRANTS)
    if NAME in names:
        require_transformers()
    with new_folder(given.out, "costs", "a table of costs", RECORD) as folder:
        return _measure(given, names, folder)


def _measure(given: argparse.Namespace, names: tuple[str, ...], folder: Path) -> int:
    environment = environment_record() | {"started": now()}  # before the load that the timing itself makes
    exits: list[Exit] = []
    try:
        spec = load_spec(given.preset)
        if given.run:
            spec, exits = measure_exits(given.run, names, rounds=given.rounds, log=folder, say=say)
        spec = _sized(spec, given.image_size, given.batch_size)
        if NAME in names:
            require_supported(spec.model)
        whole = measure_latency(spec, names, given.onnx, device=given.device, rounds=given.rounds, say=say)
        profiles = measure(spec, names, device=given.device, repeats=given.rounds, say=say)
    except WorkerFailure as error:
        raise UserError(f"{error.message}; {folder} has no table") from None
    height, width = spec.data.image_size
    facts = {"model": spec.name, "image_size": [height, width], "batch_size": spec.data.batch_size}
    record = facts | {
        "device": given.device,
        "environment": environment,
        "latency": whole,
        "profiles": profiles,
    }
    if exits:
        record |= {"run": str(given.run), "exits": [asdict(each) for each in exits]}
    write_atomically(folder / RECORD, json.dumps(record, indent=1) + "\n")
    print(f"{write_page(folder, spec, record)}\npage: {folder / PAGE}", flush=True)
    return COMPLETE


def write_page(folder: Path, spec: ExperimentSpec, record: dict[str, Any]) -> str:
    """Write the page and the picture of a record of costs into ``folder``; returns the page's text."""
    # here: matplotlib takes a second, which an error in the arguments should not
    from experiments.benchmarks.costs_page import cost_table, draw, exit_table

    parts, names = parts_of(spec, record["profiles"]), list(record["profiles"])
    draw(parts, names, folder / FIGURE)
    (height, width), images = record["image_size"], show.count(record["batch_size"], "image")
    text = (
        f"# What the parts of {spec.name} cost\n\n{machine(record['environment'])}\n\n"
        f"One inference of {images} of {height} x {width} px in deploy form. Clocks around "
        "modules wait for all that was computed before, which cuts what a framework would fuse: compare shares, "
        "not sums. Operations are two for a multiply-accumulate, of convolutions and matrix products.\n\n"
        f"{cost_table(parts, names)}\n\n![shares]({FIGURE})\n\n"
        "## Whole inferences\n\nWithout clocks inside, with post-processing, in turns.\n\n"
        f"{latency_table(record['latency'], REFERENCE)}\n"
    )
    if record.get("exits"):
        exits = [Exit(**each) for each in record["exits"]]
        text += (
            f"\n## Early exit\n\nThe last checkpoints of `{record['run']}`, and an inference of its image and "
            f"batch size after each decoder layer, timed in turns in one process.\n\n{exit_table(exits)}\n"
        )
    write_atomically(folder / PAGE, text)
    return text


def _sized(spec: ExperimentSpec, size: tuple[int, int] | None, batch: int | None) -> ExperimentSpec:
    data = replace(spec.data, batch_size=batch or 1, image_size=size or spec.data.image_size)
    return replace(spec, data=data)


def _parser() -> Parser:
    parser = Parser(
        prog="python experiments/costs.py",
        description="Parameters, operations and time of each part of a model; AP and time of each decoder layer.",
    )
    add = parser.add_argument
    add("--preset", default="rtdetr_r18vd", metavar="NAME|FILE", help="default: rtdetr_r18vd")
    add("--run", type=Path, metavar="DIR", help="a finished run: its model, and AP and time of each decoder layer")
    known, default = ", ".join(ENTRANTS), ",".join(ADAPTERS)
    add("--frameworks", default=default, metavar="A,B", help=f"of {known}; default: {default}")
    add("--image-size", type=image_size, metavar="PX|HxW", help="default: that of the preset or the run")
    add("--batch-size", type=int, metavar="N", help="images of the inference (default: 1)")
    add("--rounds", type=int, default=11, metavar="N", help="timed inferences (default: 11)")
    add("--onnx", type=Path, metavar="FILE", help="time ONNX Runtime too, on a file of weights.py export")
    add("--device", choices=DEVICES, default="cpu", help="default: cpu")
    add("--out", metavar="DIR", help="default: a new folder under reports/generated")
    return parser
