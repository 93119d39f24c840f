"""Time the parts of a training step by putting a clock around the functions that compute them."""

import contextlib
import time
from collections.abc import Callable
from statistics import median
from typing import Any
from unittest import mock

REST = "backward and clipping"  # what no clock covers


class PartTimes:
    """Clocks around the parts of a step, the seconds that they have read, and the time of whole steps."""

    def __init__(self, synchronise: Callable[[], None]) -> None:
        """Measure nothing yet; ``synchronise`` waits until everything asked for so far has been computed."""
        self.synchronise = synchronise
        self.seconds: dict[str, float] = {}
        self.stack = contextlib.ExitStack()

    def watch(self, owner: object, name: str, part: str) -> None:
        """Add the time of every call of ``owner.name`` to ``part``, until the ``stack`` is closed."""
        function = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            self.synchronise()
            start = time.perf_counter()
            result = function(*arguments, **options)
            self.synchronise()
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - start
            return result

        self.stack.enter_context(mock.patch.object(owner, name, timed))

    def median(self, step: Callable[[], object], repeats: int) -> dict[str, float]:
        """Run ``step`` a number of times and return the parts of the one of median length.

        Returns:
            seconds by part, in order of first use; ``REST`` is the step's remainder, so that the sum is the step.
        """
        found: list[tuple[float, dict[str, float]]] = []
        for _ in range(repeats):
            self.seconds = {}
            start = time.perf_counter()
            step()
            self.synchronise()
            total = time.perf_counter() - start
            found.append((total, self.seconds | {REST: total - sum(self.seconds.values())}))
        return sorted(found, key=lambda pair: pair[0])[len(found) // 2][1]

    def medians(self, step: Callable[[], object], repeats: int) -> dict[str, float]:
        """Seconds by part as in ``median``, each the part's own median: an interruption falls on none."""
        rounds = [self.median(step, 1) for _ in range(repeats)]
        return {part: median(each[part] for each in rounds) for part in rounds[0]}


def largest(rows: dict[str, dict[str, float]], number: int) -> dict[str, dict[str, float]]:
    """The ``number`` rows with the most ``seconds``, and the others added up as ``others``."""
    names = sorted(rows, key=lambda name: -rows[name]["seconds"])
    rest = [rows[name] for name in names[number:]]
    kept = {name: rows[name] for name in names[:number]}
    if rest:
        kept["others"] = {key: sum(row[key] for row in rest) for key in ("seconds", "calls")}
    return kept
