"""The certificate of a run: before it trains, its frameworks compute its first step in float64 and are compared.

The run's own spec, initial weights and first images; predictions, every loss term, the matching, every gradient
and one update. Training is chaotic and proves nothing; this proves that the frameworks train the same function.
"""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.data.batches import epoch_batches
from experiments.progress import Progress
from experiments.runs.folder import Run
from experiments.runs.stepper import Machine, Unavailable, opened
from experiments.runs.training_loop import Training, step_inputs
from frameworks.arrays import Arrays, load_arrays
from frameworks.errors import UserError
from frameworks.judge.compare import Comparison, compare
from frameworks.judge.decisions import forced_decisions, updates
from frameworks.judge.record import Record, Recorder
from frameworks.protocol import Case, Framework
from frameworks.shared.tolerances import zoo_limit
from frameworks.state.module_paths import module_paths
from frameworks.state.parameters import trainable_names
from frameworks.workers.client import WorkerFailure
from reports.run import files
from reports.run.certificate import CASE, FAILED, LEFT_OUT, PASSED, read_certificate, sentence

# A larger batch is cut: float64 is slow on a CPU, and to every formula fewer images are a batch like any other.
MOST_PIXELS_ON_CPU = 4 * 160 * 160


def certify(run: Run, machine: Machine) -> bool:
    """Make the certificate where there is none yet, and say it in one line; returns whether to train.

    A run whose frameworks differ does not train until it is resumed.

    Raises:
        UserError: an image of the first batch cannot be read, or the folder cannot be written.
    """
    path = run.folder / files.CERTIFICATE
    try:
        if read_certificate(path):
            return True  # also where it failed: whoever resumes has been told
        recorder, begin = Recorder(path), time.perf_counter()
        outcome, facts = _outcome(run, machine, recorder)
        recorder.write({"certificate": {"outcome": outcome, "seconds": time.perf_counter() - begin} | facts})
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
    made = read_certificate(path)
    assert made is not None, "its last line was just written"
    if len(run.frameworks) > 1:
        print(f"certificate: {sentence(made, run.frameworks)}", flush=True)
    if outcome == FAILED:
        print(f"nothing was trained; to train all the same: --resume {run.folder}", flush=True)
    return outcome != FAILED


def _outcome(run: Run, machine: Machine, recorder: Recorder) -> tuple[str, dict[str, Any]]:
    """Compare and record; returns the outcome, and the facts for its record."""
    if len(run.frameworks) < 2:
        return LEFT_OUT, {"reason": "one framework alone is trained, so there is nothing to compare"}
    try:
        inputs = _first_inputs(run)
        facts = {"images": len(inputs["counts"]), "of": run.spec.data.batch_size}
        return (PASSED if _compare(run, machine, inputs, recorder) else FAILED), facts
    except (WorkerFailure, Unavailable) as error:
        return LEFT_OUT, {"reason": str(error)}


def _first_inputs(run: Run) -> Arrays:
    """Images, targets and noise of the first training step, or of its first images alone (above)."""
    training = Training(run.spec, run.data["train"], run.meta.seed)
    batches = epoch_batches(training.subset.split, training.subset.ids, training.order, 0, workers=1)
    with contextlib.closing(batches):  # pyright: ignore[reportArgumentType]
        batch = next(batches).arrays
    _, _, height, width = batch["images"].shape
    kept = max(1, MOST_PIXELS_ON_CPU // (height * width)) if run.meta.device == "cpu" else len(batch["images"])
    objects = int(batch["counts"][:kept].sum())
    sizes = {"images": kept, "counts": kept, "labels": objects, "boxes": objects}
    kept_batch = {name: batch[name][:size] for name, size in sizes.items()}
    kept_batch["boxes"] = off_the_kinks(kept_batch["boxes"], run.meta.seed)
    return step_inputs(training, kept_batch, 0)


def off_the_kinks(boxes_N4: np.ndarray, seed: int) -> np.ndarray:
    """The boxes, cxcywh, each within itself and up to a ten-thousandth smaller.

    A box at the image's border has corners that are exactly 0 or 1. So have the anchors, which are what untrained
    heads predict, and clamped denoising boxes. There the losses have a kink, and a sigmoid's last digit decides on
    which side of it a gradient is: in float64, too, two correct programs then differ by a percent.
    """
    draw = np.random.Generator(np.random.PCG64(seed))
    smaller_N2 = 1 - 1e-4 * draw.uniform(0.5, 1, (len(boxes_N4), 2))
    shift_N2 = 2e-5 * draw.uniform(-1, 1, (len(boxes_N4), 2))
    centers_N2, sizes_N2 = boxes_N4[:, :2], boxes_N4[:, 2:]
    moved = np.concatenate([centers_N2 + shift_N2 * sizes_N2, smaller_N2 * sizes_N2], axis=1)
    return moved.astype(boxes_N4.dtype)


@dataclass(frozen=True)
class _Session:
    """The frameworks of the run, started, and what they all are given."""

    run: Run
    frameworks: Mapping[str, Framework]
    weights: Arrays
    recorder: Recorder

    def trace(self, name: str, question: str, inputs: Arrays, dtype: str = "float64") -> Arrays:
        """What one framework answers; one optimizer step has the rate that follows the warm-up.

        In the warm-up an update can be smaller than the last digit of a weight, which no comparison would see.
        """
        recipe, steps = self.run.spec.recipe, int(question == "optimizer")
        scale = float(max(1, recipe.warmup_steps))
        case = Case(question, self.run.spec, training=True, steps=steps, lr_scale=scale)
        return self.frameworks[name].trace(case, self.weights, inputs, device=self.run.meta.device, dtype=dtype)

    def record(self, comparisons: list[Comparison], name: str, case: str, dtype: str = "float64") -> bool:
        """Record comparisons of one framework; returns whether all passed."""
        meta, modules = self.run.meta, tuple(module_paths(self.run.spec.model))
        record = Record(self.recorder, meta.preset, case, dtype, meta.device, modules)
        return not record.add(comparisons, name, "twin")


@contextlib.contextmanager
def _session(run: Run, machine: Machine, recorder: Recorder) -> Iterator[_Session]:
    weights = load_arrays(run.folder / files.INITIAL)
    with contextlib.ExitStack() as stack:
        started: dict[str, Framework] = {}
        for name in run.frameworks:
            (run.folder / name).mkdir(exist_ok=True)
            started[name] = stack.enter_context(opened(name, machine, run.folder / name, "float64"))
        yield _Session(run, started, weights, recorder)


def _compare(run: Run, machine: Machine, inputs: Arrays, recorder: Recorder) -> bool:
    """Record every comparison with the first framework in float64; returns whether all of them passed."""
    reference, *others = run.frameworks
    modules = module_paths(run.spec.model)
    with _session(run, machine, recorder) as session, Progress("certificate", waiting="first step in float64"):
        truth = session.trace(reference, "loss", inputs)
        traces = {name: session.trace(name, "loss", inputs) for name in others}
        found = {name: compare(trace, truth, zoo_limit, modules) for name, trace in traces.items()}
        passed = [session.record(comparisons, name, CASE) for name, comparisons in found.items()]
        del traces
        _record_float32(session, inputs, truth)
        given = _given_gradients(run, truth, session.weights)
        after = updates(session.trace(reference, "optimizer", given), session.weights)
        for name in others:
            trace = updates(session.trace(name, "optimizer", given), session.weights)
            passed.append(session.record(compare(trace, after, zoo_limit, modules), name, f"{CASE}, update"))
    return all(passed)


def _record_float32(session: _Session, inputs: Arrays, truth: Arrays) -> None:
    """Record how far each framework is from the truth in float32, with the truth's decisions and without a limit.

    Coordinates that lie on a kink make such gradients differ by several percent in any program.
    """
    modules = module_paths(session.run.spec.model)
    for name in session.frameworks:
        trace = session.trace(name, "loss", inputs | forced_decisions(truth), "float32")
        found = compare(trace, truth, lambda stage, tensor: np.inf, modules)
        for each in found:
            session.recorder.write(
                {"preset": session.run.meta.preset, "case": CASE, "dtype": "float32", "framework": name}
                | dataclasses.asdict(each)
                | {"device": session.run.meta.device, "judge": "float64", "limit": None, "passed": None}
            )


def _given_gradients(run: Run, truth: Arrays, weights: Arrays) -> Arrays:
    """The truth's gradients, 0 where it has none, for the first update: every framework is given the same ones."""
    names = [name for name in trainable_names(run.spec.model) if not run.spec.recipe.is_frozen(name)]
    return {f"gradient/0/{name}": truth.get(f"gradient/{name}", np.zeros_like(weights[name])) for name in names}
