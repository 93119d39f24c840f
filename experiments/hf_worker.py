"""python -m experiments.hf_worker: Hugging Face's RT-DETR in a process of its own, spoken to like the twins.

The worker is ``frameworks.worker`` with one adapter more; ``open_hf`` is the caller's side of it.
"""

import contextlib
import importlib.util
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import frameworks
from frameworks import worker
from frameworks.client import Log, Worker
from frameworks.errors import UserError

NAME = "hf"


@contextlib.contextmanager
def open_hf(
    device: str = "cpu", timeout: float | None = None, log: Log | None = None, python: str | None = None
) -> Iterator[Worker]:
    """Hugging Face's model in a worker.

    Raises:
        UserError: transformers is not installed, or the worker cannot start.
        WorkerFailure: the worker died while starting.
    """
    require_transformers(python)
    with tempfile.TemporaryDirectory(prefix="twin-detr-hf-") as folder:
        # The client starts "an interpreter" with "-m frameworks.worker hf ..."; this one puts our module there.
        program = Path(folder) / "python"
        module = shlex.join([python or sys.executable, "-m", "experiments.hf_worker"])
        program.write_text(f'#!/bin/sh\nshift 2\nexec {module} "$@"\n', encoding="utf-8")
        program.chmod(0o700)
        client = Worker(NAME, device, str(program), timeout, log)
        try:
            yield client
        finally:
            client.close()


def require_transformers(python: str | None = None) -> None:
    """Raise UserError saying how to get transformers unless it is there; another interpreter is not asked."""
    if python is None and importlib.util.find_spec("transformers") is None:
        raise UserError(
            "hf needs the package transformers: pip install 'twin-detr[benchmarks]' "
            "(or leave hf out of --frameworks)"
        )


if __name__ == "__main__":
    frameworks.ADAPTERS[NAME] = "experiments.hf_rtdetr"
    worker.main()
