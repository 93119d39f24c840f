"""How fast a training goes and when it will end."""

import time

_SURE_AFTER = 4  # steps after the first one that an estimate needs


class Pace:
    """Wall time of a step, with whatever comes between two; a first step, which may compile, does not count."""

    def __init__(self, steps: int) -> None:
        self.left, self.done = steps, 0
        self.start = self.last = time.monotonic()

    def step_done(self) -> None:
        """Count a step that has just ended."""
        self.last = time.monotonic()
        if self.done == 0:
            self.start = self.last
        self.left, self.done = self.left - 1, self.done + 1

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the remaining steps will take; None before the second step."""
        return (self.last - self.start) / (self.done - 1) * self.left if self.done > 1 else None

    @property
    def is_sure(self) -> bool:
        """Whether this step is the one after which the time can be estimated, once in a training."""
        return self.done == _SURE_AFTER + 1 and self.left > 0


def duration(seconds: float) -> str:
    """Seconds as people write them: "48 s", "12 min 5 s", "3 h 20 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
