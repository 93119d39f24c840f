"""Latency of a training step and images per second, as the run's own log has them."""

from statistics import median

import numpy as np

from reports import formatting as show
from reports.language import say
from reports.markdown import table
from reports.run.records import FrameworkRecords, RunRecords

PERCENTILES = (50, 90, 99)


def throughput_table(run: RunRecords) -> str | None:
    """A row per framework and control; None where nobody recorded a step."""
    rows = []
    for entry in run.entries:
        if not (seconds := steady_steps(entry)):
            continue
        row = {say("framework"): show.label(entry.name)}
        for percentile in PERCENTILES:
            duration = float(np.percentile(seconds, percentile))
            row[say("step, p{percentile}", percentile=percentile)] = show.seconds(duration)
        middle = median(seconds)
        row[say("training, images/s")] = _rate(run.meta.batch_size / middle if middle else None)
        row[say("evaluation, images/s")] = _rate(evaluation_rate(entry))
        rows.append(row)
    return table(rows) if rows else None


def steady_steps(records: FrameworkRecords) -> list[float]:
    """Seconds of the steps after the first epoch, which compiles kernels; of a shorter run, after the first."""
    if not records.steps:
        return []
    first = records.steps[0].epoch
    steady = [step.seconds for step in records.steps if step.epoch > first]
    return steady or [step.seconds for step in records.steps[1:]] or [records.steps[0].seconds]


def evaluation_rate(records: FrameworkRecords) -> float | None:
    """Images per second of all evaluations: reading images, detection and COCO's counting, without compiling.

    None where their duration was not recorded.
    """
    timed = [row for row in records.evaluations if row.seconds]
    seconds = sum(row.seconds - row.compile_seconds for row in timed)
    return sum(row.images for row in timed) / seconds if seconds > 0 else None


def _rate(value: float | None) -> str:
    return show.ABSENT if value is None else f"{value:.3g}"
