"""Whole inferences of the frameworks and of ONNX Runtime on an exported file, timed in turns."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from experiments.benchmarks.environment import thread_variables
from experiments.benchmarks.session import Say, drawn_weights, make_inputs
from experiments.benchmarks.timing import order_of
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec
from frameworks.errors import UserError
from frameworks.threads import thread_count
from frameworks.workers.client import open_framework
from reports import formatting as show
from reports.markdown import table

ONNX_RUNTIME = "ONNX Runtime"
Call = Callable[[], float]  # one inference; returns its seconds


def measure_latency(
    spec: ExperimentSpec, frameworks: tuple[str, ...], onnx: Path | None, *, device: str, rounds: int, say: Say
) -> dict[str, list[float]]:
    """Seconds of every round by label, with post-processing; the first round of each is left out.

    Args:
        onnx: a file of ``weights.py export``, which ONNX Runtime computes on the CPU in this process.

    Raises:
        UserError: ONNX Runtime is missing, or the file is of another image size.
    """
    images = make_inputs(spec).images
    with contextlib.ExitStack() as stack:
        calls: dict[str, Call] = {}
        if onnx is not None:
            calls[ONNX_RUNTIME] = _by_onnx_runtime(onnx, images)
        for name in frameworks:
            worker = stack.enter_context(open_framework(name, device=device, variables=thread_variables()))
            stepper = worker.trainer(spec, drawn_weights(spec.model), device=device)
            calls[name] = lambda stepper=stepper: stepper.predict(images).seconds
        seconds: dict[str, list[float]] = {label: [] for label in calls}
        for turn in range(rounds + 1):
            say(f"whole inferences: round {turn + 1} of {rounds + 1}")
            for label in order_of(list(calls), turn):
                spent = calls[label]()
                if turn:
                    seconds[label].append(spent)
    return seconds


def _by_onnx_runtime(path: Path, images: Arrays) -> Call:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise UserError("--onnx needs more packages: pip install 'twin-detr[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count()
    if not path.is_file():
        raise UserError(f"--onnx {path}: no such file; write it with experiments/weights.py export")
    try:
        session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has an exception of its own for each kind of broken file
        raise UserError(f"--onnx {path}: ONNX Runtime cannot read it ({type(error).__name__})") from None
    shape, wanted = session.get_inputs()[0].shape[2:], list(images["images"].shape[2:])
    if shape != wanted:
        raise UserError(
            f"--onnx {path}: takes images of {shape} px, the others {wanted}; export it with --image-size"
        )

    def call() -> float:
        start = time.perf_counter()
        session.run(["labels", "boxes", "scores"], images)
        return time.perf_counter() - start

    return call


def latency_table(seconds: dict[str, list[float]], reference: str) -> str:
    """A row for each label: median, fastest, and the median as a multiple of the reference's."""
    names = sorted(seconds, key=lambda label: label != reference)
    base = median(seconds[reference]) if reference in seconds else None
    return table(
        [
            {
                "whole inference": label if label == ONNX_RUNTIME else show.label(label),
                "median": show.seconds(median(seconds[label])),
                "fastest": show.seconds(min(seconds[label])),
                f"÷ {show.label(reference)}": show.ratio(median(seconds[label]), base).removeprefix("× "),
            }
            for label in names
        ]
    )
