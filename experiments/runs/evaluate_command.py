"""The command that evaluates a run, a checkpoint or a file of weights: AP table and predictions."""

import json
import time
from pathlib import Path
from typing import Any

from tabulate import tabulate

from experiments.command import COMPLETE, FAILED, Parser, parse_frameworks, parse_pythons, require_positive
from experiments.progress import say
from experiments.runs.evaluation_source import Evaluation, Request, find
from experiments.runs.folder import claim
from experiments.runs.host import GENERATED, now
from experiments.runs.options import DEVICES, image_size
from experiments.runs.stepper import Unavailable, open_stepper
from experiments.runs.validation import detect_and_score, write_predictions
from experiments.weight_files.initial import in_float32
from frameworks import ADAPTERS
from frameworks.config import spec_hash
from frameworks.files import file_hash, unused, write_atomically
from frameworks.shared import kernels
from frameworks.workers.client import WorkerFailure
from reports.run import files
from reports.run.meta import COCO_STATS

RECORD = "evaluation.json"


def start(arguments: list[str] | None) -> int:
    """Do what the arguments of experiments/evaluate.py ask for; returns the exit status. Raises UserError."""
    given = vars(_parser().parse_args(arguments))
    if given["frameworks"] is not None:
        given["frameworks"] = parse_frameworks(given["frameworks"], ADAPTERS)
    given["pythons"] = parse_pythons(given.pop("python"), given["frameworks"] or tuple(ADAPTERS))
    return run_evaluation(Request(**given))


def run_evaluation(request: Request) -> int:
    """Evaluate in each framework, print the table, and write predictions and a record; returns the exit status.

    Raises:
        UserError: as ``find``; or the weights do not fit, or the folder for the results cannot be used.
    """
    require_positive(vars(request), "subset", "batch_size")
    found = find(request)
    print(f"data: {found.sentence}: {len(found.subset.ids)} images of {request.split}", flush=True)
    folder = request.out or unused(
        GENERATED / f"evaluation-{Path(request.source).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    )
    claim(folder)
    rows: dict[str, dict[str, Any]] = {}
    for name, loaded in found.weights.items():
        (folder / name).mkdir()
        try:
            with open_stepper(
                name, found.machine, found.spec, in_float32(loaded.weights), folder / name
            ) as stepper:
                scored = detect_and_score(
                    stepper, found.subset, found.spec.data, f"{name} evaluating {request.split}"
                )
        except (WorkerFailure, Unavailable) as error:
            say(f"{name} failed: {error}")
            continue
        write_predictions(folder / name / files.predictions(request.split), scored)
        origin = {"path": str(loaded.file.path), "sha256": file_hash(loaded.file.path), "form": loaded.file.form}
        rows[name] = {"weights": origin, "stats": scored.stats, "seconds": scored.seconds}
    write_atomically(folder / RECORD, json.dumps(_record(request, found, rows), indent=1) + "\n")
    print(_table({name: row["stats"] for name, row in rows.items()}))
    print(f"predictions: {folder}", flush=True)
    return COMPLETE if rows.keys() == found.weights.keys() else FAILED


def _record(request: Request, found: Evaluation, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    data = found.spec.data
    return {
        "created": now(),
        "source": request.source,
        "spec_hash": spec_hash(found.spec),
        "device": found.machine.device,
        "data": found.sentence,
        "split": request.split,
        "images": len(found.subset.ids),
        "image_size": list(data.image_size),
        "batch_size": data.batch_size,
        "frameworks": rows,
    }


def _table(stats: dict[str, dict[str, float]]) -> str:
    """COCO's twelve numbers, a column for each framework; a dash where COCO defines none."""
    rows = [[name, *(_shown(each[name]) for each in stats.values())] for name in COCO_STATS]
    return tabulate(rows, headers=["", *stats], disable_numparse=True, stralign="right")


def _shown(value: float) -> str:
    return "-" if value < 0 else f"{value:.4f}"


def _parser() -> Parser:
    parser = Parser(
        prog="python experiments/evaluate.py",
        description="Evaluate a run, a checkpoint or weights: COCO's numbers, and detections as COCO's results.",
    )
    add = parser.add_argument
    add("source", help="run folder, checkpoint, weights, or the word official (the preset's published file)")
    add("--frameworks", metavar="A,B", help="default: of a run all, of a checkpoint its own, else torch")
    add("--checkpoint", choices=("last", "best"), default="last", help="of a run folder (default: last)")
    add("-c", "--preset", "--config", dest="preset", metavar="NAME|FILE", help="model of a file of weights")
    add("--data", metavar="DIR", help="folder in COCO's layout (default: the run's images, else $COCO_ROOT)")
    add("--split", choices=("val", "train"), default="val", help="default: val")
    add("--subset", type=int, metavar="N", help="so many images (default: those of the run, else all)")
    add("--image-size", type=image_size, metavar="PX|HxW", help="default: that of the training, or the preset's")
    add("--batch-size", type=int, metavar="N", help="default: that of the training, or 4")
    add("--device", choices=DEVICES, help="default: that of the training, or cpu")
    add("--kernels", choices=kernels.CHOICES, help="C++ operators or the formulas that define them")
    add("--python", action="append", default=[], metavar="NAME=PATH", help="interpreter of a framework's worker")
    add("--in-process", action="store_true", help="no workers, for a debugger")
    add("--out", "--output-dir", dest="out", type=Path, metavar="DIR", help="default: new under reports/generated")
    return parser
