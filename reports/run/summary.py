"""Summary of one framework's run: the numbers of the main table and of the verdict."""

from dataclasses import dataclass
from statistics import median

from reports.run.records import Evaluation, FrameworkRecords
from reports.run.throughput import steady_steps


@dataclass(frozen=True)
class Summary:
    """Durations in seconds, memory in MB; None where the run recorded nothing."""

    name: str
    epochs: int
    steps: int
    final_loss: float | None
    train: Evaluation | None
    val: Evaluation | None
    first_epoch_seconds: float | None
    epoch_seconds: float | None
    step_seconds: float | None
    peak_memory_mb: float | None


def summarize(records: FrameworkRecords) -> Summary:
    """The numbers of one framework; medians leave out the first epoch (or step), where kernels compile."""
    epochs = records.epochs
    memory = [epoch.peak_memory_mb for epoch in epochs if epoch.peak_memory_mb is not None]
    return Summary(
        name=records.name,
        epochs=len(epochs),
        steps=len(records.steps),
        final_loss=epochs[-1].loss if epochs else None,
        train=records.last_evaluation("train"),
        val=records.last_evaluation("val"),
        first_epoch_seconds=epochs[0].seconds if epochs else None,
        epoch_seconds=median(epoch.seconds for epoch in epochs[1:]) if len(epochs) > 1 else None,
        step_seconds=_median_step(records),
        peak_memory_mb=max(memory, default=None),
    )


def comparable(reference: Summary, other: Summary) -> bool:
    """Whether final losses and APs were taken after the same number of epochs."""
    return reference.epochs == other.epochs


def evaluation_of(summary: Summary, split: str) -> Evaluation | None:
    """The last evaluation of `split` ("train" or "val")."""
    return summary.train if split == "train" else summary.val


def _median_step(records: FrameworkRecords) -> float | None:
    seconds = steady_steps(records)
    return median(seconds) if seconds else None
