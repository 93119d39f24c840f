"""The log of a worker: what it prints in a file, and its complete lines on this process's standard error."""

import contextlib
from pathlib import Path

from experiments.progress import say
from reports.run.files import WORKER_LOG


class WorkerLog:
    """Callable for ``open_framework(log=...)``, which receives pieces of text; it never raises.

    Lines without an end (progress that a compiler redraws) go to the file alone.
    """

    def __init__(self, folder: Path, title: str) -> None:
        self.path, self.title, self.rest = folder / WORKER_LOG, title, ""

    def __call__(self, text: str) -> None:
        """Append `text` to the file and print the lines that it completes."""
        with contextlib.suppress(OSError), self.path.open("a", encoding="utf-8") as stream:
            stream.write(text)
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            shown = line.rstrip("\r").rpartition("\r")[2]  # what a terminal would show in the end
            if shown.strip():
                say(f"  {self.title}: {shown}")
