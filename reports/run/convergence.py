"""How far and how fast the training loss fell in each framework."""

from dataclasses import dataclass

from reports import formatting as show
from reports.language import say
from reports.markdown import table
from reports.run.records import FrameworkRecords, RunRecords


@dataclass(frozen=True)
class Convergence:
    """The total loss of the first step, before any update, and of the last epoch, its mean over the steps.

    ``minutes`` is the time of training alone: without evaluation, with the compilation of kernels.
    """

    name: str
    epochs: int
    initial: float
    final: float
    minutes: float

    @property
    def drop(self) -> float:
        """By how much the loss fell."""
        return self.initial - self.final

    @property
    def drop_per_minute(self) -> float:
        """The same for each minute of training; NaN where no time passed."""
        return self.drop / self.minutes if self.minutes else float("nan")


def convergence(records: FrameworkRecords) -> Convergence | None:
    """The convergence of one framework or control; None unless its first step and an epoch were recorded."""
    if not records.steps or records.steps[0].step or not records.epochs:
        return None
    minutes = sum(epoch.seconds for epoch in records.epochs) / 60
    last = records.epochs[-1]
    return Convergence(records.name, len(records.epochs), records.steps[0].total, last.loss, minutes)


def convergence_table(run: RunRecords) -> str | None:
    """A row per framework and control; None where nobody finished an epoch."""
    rows = [
        {
            say("framework"): show.label(each.name),
            say("epochs"): each.epochs,
            say("first step"): show.loss(each.initial),
            say("last epoch"): show.loss(each.final),
            say("drop"): f"{each.drop:.4f}",
            say("of the first"): show.percent(each.drop / each.initial) if each.initial else show.ABSENT,
            say("minutes"): f"{each.minutes:.2f}",
            say("drop per minute"): f"{each.drop_per_minute:.3g}",
        }
        for entry in run.entries
        if (each := convergence(entry))
    ]
    return table(rows) if rows else None
