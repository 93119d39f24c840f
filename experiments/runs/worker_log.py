"""What a worker writes to standard error: kept in a file, and passed on line by line."""

import contextlib
from pathlib import Path

from experiments.progress import say

NAME = "stderr.log"


class WorkerLog:
    """Callable that takes pieces of text, for ``open_framework(log=...)``; it never raises.

    Unfinished lines (compilers redraw theirs a hundred times) go to the file alone.
    """

    def __init__(self, folder: Path, title: str) -> None:
        self.path, self.title, self.rest = folder / NAME, title, ""

    def __call__(self, text: str) -> None:
        with contextlib.suppress(OSError), self.path.open("a", encoding="utf-8") as stream:
            stream.write(text)
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            shown = line.rstrip("\r").rpartition("\r")[2]  # what a terminal would show at last
            if shown.strip():
                say(f"  {self.title}: {shown}")
