"""python -m frameworks.hf_rtdetr.worker: Hugging Face's RT-DETR in a process of its own, spoken to like the twins.

The worker is ``frameworks.workers.worker`` with one adapter more; ``open_hf`` is the caller's side of it.
"""

import contextlib
import importlib.util
import sys
from collections.abc import Iterator

import frameworks
from frameworks.errors import UserError
from frameworks.workers import worker
from frameworks.workers.client import Log, Worker

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
    client = Worker(NAME, device, python or sys.executable, timeout, log, module="frameworks.hf_rtdetr.worker")
    try:
        yield client
    finally:
        client.close()


def require_transformers(python: str | None = None) -> None:
    """Raise UserError saying how to get transformers unless it is there; another interpreter is not asked."""
    if python is None and importlib.util.find_spec("transformers") is None:
        raise UserError(
            "hf needs the package transformers: pip install 'twin-detr[huggingface]' "
            "(or leave hf out of --frameworks)"
        )


if __name__ == "__main__":
    frameworks.ADAPTERS[NAME] = "frameworks.hf_rtdetr.adapter"
    worker.main()
