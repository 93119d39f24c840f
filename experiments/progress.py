"""Progress of long work: a bar on a terminal, a line every few seconds in a log."""

import contextlib
import sys
import threading
import time

from tqdm import tqdm

QUIET_S = 2.0  # without news for this long, the bar shows what it waits for
LINE_EVERY_S = 10.0  # interval of the lines where there is no terminal
TICK_S = 1.0


class Progress:
    """A bar of `total` units with a title; a thread shows what the work waits for while no unit finishes.

    `done` units were finished before.
    """

    def __init__(
        self, title: str, total: int | None = None, unit: str = "it", waiting: str = "working", done: int = 0
    ) -> None:
        self.title, self.total, self.unit, self.waiting = title, total, unit, waiting
        self.terminal = sys.stderr.isatty()
        form = None if total else "{desc}: {elapsed}{postfix}"
        shown = {"disable": not self.terminal, "file": sys.stderr, "leave": False, "bar_format": form}
        self.bar = tqdm(desc=title, total=total, unit=unit, initial=done, **shown)
        self.done = done
        self.numbers = ""
        self.last_news = self.last_line = time.monotonic()
        self.closed = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True, name="progress")

    def __enter__(self) -> "Progress":
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closed.set()
        self.thread.join()
        self.bar.close()

    def advance(self, units: int = 1, numbers: str = "", waiting: str | None = None) -> None:
        """Add finished units; `numbers` is shown beside the bar, `waiting` names the work that comes next."""
        self.done += units
        self.numbers = numbers or self.numbers
        self.waiting = waiting or self.waiting
        self.last_news = time.monotonic()
        self.bar.set_postfix_str(self.numbers, refresh=False)
        self.bar.update(units)

    def _watch(self) -> None:
        while not self.closed.wait(TICK_S):
            now = time.monotonic()
            silence = now - self.last_news
            if silence >= QUIET_S and self.terminal:
                self.bar.set_postfix_str(", ".join(filter(None, [self.numbers, self._waited(silence)])))
            if not self.terminal and now - self.last_line >= LINE_EVERY_S:
                self.last_line = now
                of = f", {self.unit} {self.done}/{self.total}" if self.total else ""
                news = [self.numbers, self._waited(silence) if silence >= QUIET_S else ""]
                say(f"{self.title}{of}: {', '.join(filter(None, news))}".rstrip(": "))

    def _waited(self, silence: float) -> str:
        return f"{self.waiting}, {silence:.0f} s"


def say(line: str) -> None:
    """Print a line on standard error without breaking a running bar."""
    with contextlib.suppress(OSError, ValueError):  # a closed terminal must not end a training run
        tqdm.write(f"{line}\n", file=sys.stderr, end="")  # in one call: Ctrl-C may come between two
        sys.stderr.flush()
