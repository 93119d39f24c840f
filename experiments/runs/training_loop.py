"""The training loop of every framework: epochs, schedules, noise, records and checkpoints.

A framework's stepper computes one step. The inputs of that step (images in their order, noise, learning rates, EMA
decay) are computed here, from the spec, the seed and the number of the step alone.
"""

import contextlib
import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from experiments.data.batches import Batch, EpochOrder, batch_count, epoch_batches
from experiments.progress import Progress
from experiments.runs.board import Board
from experiments.runs.checkpoint import keep_checkpoint, load_checkpoint, read_reached, save_checkpoint
from experiments.runs.data import Subset
from experiments.runs.monitoring import Monitoring
from experiments.runs.pace import Pace, duration
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec, spec_hash
from frameworks.protocol import Stepper
from frameworks.shared.noise import draw_noise
from frameworks.shared.schedules import ema_decay, learning_rates, part_of, updates_per_epoch
from reports.jsonl import read_lines
from reports.record_writer import Record, RecordWriter, append_all
from reports.run.files import EPOCHS, STEPS, kept_checkpoint

SHORT_EPOCH_S = 10.0  # an epoch that ends sooner after a checkpoint leaves no other, if nothing else needs one
_NOISE_STREAM = 1  # keeps the noise apart from other streams of the same seed


@dataclass(frozen=True)
class Training:
    """What is trained: the same for every framework. ``earlier_specs``: hashes before the run was extended."""

    spec: ExperimentSpec
    subset: Subset
    seed: int
    monitoring: Monitoring = field(default_factory=Monitoring)
    earlier_specs: tuple[str, ...] = ()

    @property
    def order(self) -> EpochOrder:
        """Size, order and augmentation of the training batches."""
        data = self.spec.data
        return EpochOrder(self.seed, data.batch_size, data.image_size, data.augmentation)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches of an epoch; each is a step."""
        return batch_count(len(self.subset.ids), self.spec.data.batch_size, drop_last=True)


def train(
    training: Training,
    stepper: Stepper,
    folder: Path,
    title: str,
    say: Callable[[str], None],
    validate: Callable[[int], None] = lambda epoch: None,
    board: Board | None = None,
) -> None:
    """Train the remaining steps; write records and checkpoints to `folder`.

    `folder` is empty, or holds the files of an interrupted call after `experiments.runs.resume.repair`.

    Args:
        say: receives lines for people.
        validate: called after the epochs, given by number, that end with a validation, but not after the last one;
            after an interruption perhaps again for the same epoch.

    Raises:
        FloatingPointError: the loss or the gradient is not finite.
        UserError: an image cannot be read, or a file cannot be written.
    """
    _Loop(training, stepper, folder, title, say, validate, board or Board()).run()


class _Loop:
    """One call of ``train``."""

    def __init__(
        self,
        training: Training,
        stepper: Stepper,
        folder: Path,
        title: str,
        say: Callable[[str], None],
        validate: Callable[[int], None],
        board: Board,
    ) -> None:
        self.training, self.stepper, self.folder, self.title = training, stepper, folder, title
        self.say, self.validate, self.board = say, validate, board
        self.epochs, self.per_epoch = training.spec.recipe.epochs, training.steps_per_epoch
        self.saved_at = time.monotonic()
        self.pace = Pace(0)

    def run(self) -> None:
        reached = read_reached(self.folder, spec_hash(self.training.spec), *self.training.earlier_specs)
        begin, steps = (reached.epochs, reached.steps) if reached else (0, 0)
        if reached:
            self.stepper.load(load_checkpoint(self.folder))
        self.pace = Pace(self.epochs * self.per_epoch - steps)
        if begin and steps == begin * self.per_epoch:
            self._end_epoch(begin - 1)  # perhaps the interruption came before or within this
        for epoch in range(begin, self.epochs):
            record = self._train_epoch(epoch, max(0, steps - epoch * self.per_epoch))
            append_all(self.folder / EPOCHS, [record])
            if self._epoch_needs_checkpoint(epoch):
                with Progress(self._at(epoch), waiting="saving the checkpoint"):
                    self._save(epoch + 1, (epoch + 1) * self.per_epoch)
            mean = record["seconds"] / record["steps"]
            self.say(
                f"{self._at(epoch)}: loss {record['loss']:.4f}, {mean:.2f} s/step, {duration(record['seconds'])}"
            )
            self._end_epoch(epoch)

    def _train_epoch(self, epoch: int, done: int) -> Record:
        """Train an epoch whose first ``done`` steps are recorded; returns its record."""
        start = time.perf_counter()
        first = epoch * self.per_epoch
        records = _recorded(self.folder / STEPS, epoch) if done else []
        before = sum(record["seconds"] for record in records)
        training = self.training
        batches = epoch_batches(training.subset.split, training.subset.ids, training.order, epoch, start=done)
        waiting = "next step" if self.pace.done else "first step: compiling kernels"
        with (
            Progress(self._at(epoch), self.per_epoch, "step", waiting, done=done) as progress,
            RecordWriter(self.folder / STEPS) as writer,
            contextlib.closing(cast(Generator[Batch, None, None], batches)),
        ):
            for step, batch in enumerate(batches, start=first + done):
                records.append(self._step(batch.arrays, step, epoch, writer))
                progress.advance(1, self._numbers(records[-1]), waiting="next step")
                if step + 1 < first + self.per_epoch and self._checkpoint_is_due():
                    writer.sync()
                    progress.advance(0, waiting="saving the checkpoint")
                    self._save(epoch, step + 1)
            writer.sync()
        totals = [record["total"] for record in records]
        return {
            "epoch": epoch,
            "seconds": before + time.perf_counter() - start,
            "loss": sum(totals) / len(totals),
            "steps": len(totals),
            "peak_memory_mb": self.stepper.peak_memory_mb(),
            "first_step_seconds": records[0]["seconds"],
        }

    def _step(self, batch: Arrays, step: int, epoch: int, writer: RecordWriter) -> Record:
        recipe = self.training.spec.recipe
        part = part_of(recipe, step, self.per_epoch)
        rates = learning_rates(recipe, part.update, epoch, updates_per_epoch(recipe, self.per_epoch))
        decay, inputs = ema_decay(recipe, part.update + 1), step_inputs(self.training, batch, step)
        done = self.stepper.step(inputs, rates, decay, update=part.is_last, share=part.share)
        record: dict[str, Any] = {
            "step": step,
            "epoch": epoch,
            "losses": done.losses,
            "total": done.total,
            "grad_norm": done.gradient_norm,
            "lr": rates,
            "seconds": done.seconds,
            "match_hash": done.matching,
            "kernels_compiled": done.kernels_compiled,
            "compile_seconds": done.compile_seconds,
            "overflow": done.overflow,
        }
        writer.append(record)
        if done.overflow:
            self.say(f"{self.title} step {step}: gradients beyond float16; no update, and half the loss scale")
        if not (math.isfinite(done.total) and (done.overflow or math.isfinite(done.gradient_norm))):
            raise FloatingPointError(f"step {step}: total loss is {done.total}, gradient norm {done.gradient_norm}")
        self.board.step(record)
        self.pace.step_done()
        return record

    def _numbers(self, record: Record) -> str:
        """What the line of an interval says; says once in a training how long it will take."""
        left = self.pace.seconds_left
        if left is not None and self.pace.is_sure:
            self.say(f"{self.title}: about {duration(left)} for the remaining {self.pace.left} steps")
        end = f", ETA {duration(left)}" if left is not None else ""
        return f"loss {record['total']:.3f}, lr {max(record['lr']):.2g}, {record['seconds']:.2f} s/step{end}"

    def _checkpoint_is_due(self, at_most: float = math.inf) -> bool:
        """Whether the last checkpoint is older than the clock allows, or than ``at_most`` seconds."""
        allowed = min(60 * self.training.monitoring.checkpoint_minutes, at_most)
        return time.monotonic() - self.saved_at >= allowed

    def _epoch_needs_checkpoint(self, epoch: int) -> bool:
        """Whether one is kept, validated or the last of the training; or the epoch was not short."""
        monitoring = self.training.monitoring
        needed = monitoring.keeps(epoch) or monitoring.validates_after(epoch) or epoch + 1 == self.epochs
        return needed or self._checkpoint_is_due(SHORT_EPOCH_S)

    def _save(self, epochs: int, steps: int) -> None:
        """Save after the records: they reach at least as far, and a resumed run drops what lies beyond."""
        save_checkpoint(self.folder, self.stepper.state(), self.training.spec, epochs=epochs, steps=steps)
        self.board.flush()
        self.saved_at = time.monotonic()

    def _end_epoch(self, epoch: int) -> None:
        """Keep the checkpoint and validate, where it is time; doing it twice changes nothing."""
        if self.training.monitoring.keeps(epoch):
            keep_checkpoint(self.folder, kept_checkpoint(epoch + 1))
        if self.training.monitoring.validates_after(epoch) and epoch + 1 < self.epochs:
            self.validate(epoch)

    def _at(self, epoch: int) -> str:
        return f"{self.title} epoch {epoch + 1}/{self.epochs}"


def _recorded(path: Path, epoch: int) -> list[Record]:
    """The step records of an epoch so far."""
    return [record for record in read_lines(path)[0] if record["epoch"] == epoch]


def step_inputs(training: Training, batch: Arrays, step: int) -> Arrays:
    """Inputs of a stepper: images, targets, and denoising noise from a random stream of this step alone."""
    arrays = {name: batch[name] for name in ("images", "labels", "boxes", "counts")}
    stream = np.random.Generator(np.random.PCG64([training.seed, step, _NOISE_STREAM]))
    return arrays | draw_noise(training.spec.model, arrays["counts"], stream)
