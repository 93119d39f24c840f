"""The training loop of every framework: epochs, schedules, noise, records and checkpoints.

A framework's stepper computes one step. The inputs of that step (images in their order, noise, learning rates, EMA
decay) are computed here, from the spec, the seed and the number of the step alone.
"""

import contextlib
import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from experiments.data.batches import Batch, EpochOrder, batch_count, epoch_batches
from experiments.progress import Progress
from experiments.record_writer import RecordWriter, append_all
from experiments.runs.checkpoint import Reached, load_checkpoint, read_reached, save_checkpoint
from experiments.runs.data import Subset
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec, spec_hash
from frameworks.protocol import Stepper, StepRecord
from frameworks.shared.noise import draw_noise
from frameworks.shared.schedules import ema_decay, learning_rates, part_of, updates_per_epoch
from reports.run.files import EPOCHS, STEPS

_NOISE_STREAM = 1  # keeps the noise apart from other streams of the same seed


@dataclass(frozen=True)
class Training:
    """What is trained: the same for every framework."""

    spec: ExperimentSpec
    subset: Subset
    seed: int

    @property
    def order(self) -> EpochOrder:
        """Size, order and augmentation of the training batches."""
        data = self.spec.data
        return EpochOrder(self.seed, data.batch_size, data.image_size, data.augmentation)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches of an epoch; each is a step."""
        return batch_count(len(self.subset.ids), self.spec.data.batch_size, drop_last=True)


def train(training: Training, stepper: Stepper, folder: Path, title: str, on_epoch: Callable[[str], None]) -> None:
    """Train the remaining epochs; write records, and a checkpoint after each epoch, to `folder`.

    `folder` is empty, or holds the files of an interrupted call after `experiments.runs.resume.repair`.

    Raises:
        FloatingPointError: the loss or the gradient is not finite.
        UserError: an image cannot be read, or a file cannot be written.
    """
    reached = read_reached(folder, spec_hash(training.spec))
    if reached is not None:
        stepper.load(load_checkpoint(folder))
    epochs = training.spec.recipe.epochs
    begin = reached.epochs if reached else 0
    for epoch in range(begin, epochs):
        waiting = "first step: compiling kernels" if epoch == begin else "next step"
        with Progress(f"{title} epoch {epoch + 1}/{epochs}", training.steps_per_epoch, "step", waiting) as progress:
            record = _train_epoch(training, stepper, folder / STEPS, epoch, progress)
        append_all(folder / EPOCHS, [record])
        # the checkpoint last: the records reach at least as far, and a resumed run drops what lies beyond it
        done = Reached(epoch + 1, (epoch + 1) * training.steps_per_epoch, spec_hash(training.spec))
        with Progress(f"{title} epoch {epoch + 1}/{epochs}", waiting="saving the checkpoint"):
            save_checkpoint(folder, stepper.state(), done)
        on_epoch(
            f"{title} epoch {epoch + 1}/{epochs}: loss {record['loss']:.4f}, "
            f"{record['seconds'] / record['steps']:.2f} s/step, {record['seconds']:.1f} s"
        )


def _train_epoch(
    training: Training, stepper: Stepper, path: Path, epoch: int, progress: Progress
) -> dict[str, Any]:
    start = time.perf_counter()
    batches = epoch_batches(training.subset.split, training.subset.ids, training.order, epoch)
    totals: list[float] = []
    first = epoch * training.steps_per_epoch
    first_seconds = None
    with (
        RecordWriter(path) as writer,
        contextlib.closing(cast(Generator[Batch, None, None], batches)),
    ):
        for step, batch in enumerate(batches, start=first):
            record = _step(training, stepper, batch.arrays, step, epoch, writer)
            first_seconds = record.seconds if first_seconds is None else first_seconds
            totals.append(record.total)
            progress.advance(1, f"loss {record.total:.3f}, {record.seconds:.2f} s/step", waiting="next step")
        writer.sync()
    return {
        "epoch": epoch,
        "seconds": time.perf_counter() - start,
        "loss": sum(totals) / len(totals),
        "steps": len(totals),
        "peak_memory_mb": stepper.peak_memory_mb(),
        "first_step_seconds": first_seconds,
    }


def _step(
    training: Training, stepper: Stepper, batch: Arrays, step: int, epoch: int, writer: RecordWriter
) -> StepRecord:
    recipe, steps = training.spec.recipe, training.steps_per_epoch
    part = part_of(recipe, step, steps)
    rates = learning_rates(recipe, part.update, epoch, updates_per_epoch(recipe, steps))
    decay, inputs = ema_decay(recipe, part.update + 1), step_inputs(training, batch, step)
    record = stepper.step(inputs, rates, decay, update=part.is_last, share=part.share)
    writer.append(
        {
            "step": step,
            "epoch": epoch,
            "losses": record.losses,
            "total": record.total,
            "grad_norm": record.gradient_norm,
            "lr": rates,
            "seconds": record.seconds,
            "match_hash": record.matching,
            "kernels_compiled": record.kernels_compiled,
            "compile_seconds": record.compile_seconds,
        }
    )
    if not (math.isfinite(record.total) and math.isfinite(record.gradient_norm)):
        raise FloatingPointError(f"step {step}: total loss is {record.total}, gradient norm {record.gradient_norm}")
    return record


def step_inputs(training: Training, batch: Arrays, step: int) -> Arrays:
    """Inputs of a stepper: images, targets, and denoising noise from a random stream of this step alone."""
    arrays = {name: batch[name] for name in ("images", "labels", "boxes", "counts")}
    stream = np.random.Generator(np.random.PCG64([training.seed, step, _NOISE_STREAM]))
    return arrays | draw_noise(training.spec.model, arrays["counts"], stream)
