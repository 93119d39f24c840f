"""Start a framework with weights, ready to train and to detect."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.progress import Progress
from experiments.runs.worker_log import WorkerLog
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec
from frameworks.errors import UserError
from frameworks.protocol import Framework, Stepper
from frameworks.shared import kernels
from frameworks.workers.client import open_framework

# Seconds after which a request to a worker counts as hanging. The longest takes minutes: a first step on an empty
# cache of Jittor compiles every kernel.
REQUEST_TIMEOUT_S = 3600.0

Environment = Mapping[str, Any]


class Unavailable(Exception):
    """A framework cannot be used on this machine."""


@dataclass(frozen=True)
class Machine:
    """Where frameworks compute: device, kernels, the interpreters of their workers, or no workers."""

    device: str = "cpu"
    kernels: str | None = None
    pythons: Mapping[str, str] = field(default_factory=dict)
    in_process: bool = False


@contextlib.contextmanager
def open_stepper(
    name: str,
    machine: Machine,
    spec: ExperimentSpec,
    weights: Arrays,
    log: Path,
    note: Callable[[Environment], None] = lambda environment: None,
) -> Iterator[Stepper]:
    """Context manager that starts framework ``name`` with these weights, and ends it at exit.

    Args:
        log: folder of the worker's log.
        note: receives the framework's environment, for records.

    Raises:
        Unavailable: the framework cannot start here, or not on this device.
        WorkerFailure: the worker died while starting.
    """
    with opened(name, machine, log) as framework:
        try:
            note(dict(framework.environment(machine.device)))
            stepper = framework.trainer(spec, weights, device=machine.device)
        except UserError as error:
            raise Unavailable(str(error)) from None
        yield stepper


@contextlib.contextmanager
def opened(name: str, machine: Machine, log: Path, *dtypes: str) -> Iterator[Framework]:
    """Context manager that starts framework ``name``, which has to compute in float32 and in ``dtypes``.

    Args:
        log: folder of the worker's log.

    Raises:
        Unavailable: the framework cannot start here, or not on this device.
        WorkerFailure: the worker died while starting.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(kernels.chosen(machine.kernels))
        try:
            with Progress(name, waiting="starting (a first start may compile for minutes)"):
                framework = stack.enter_context(
                    open_framework(
                        name,
                        device=machine.device,
                        python=machine.pythons.get(name),
                        in_process=machine.in_process,
                        timeout=REQUEST_TIMEOUT_S,
                        log=WorkerLog(log, name),
                    )
                )
                for dtype in ("float32", *dtypes):
                    if reason := framework.supports(machine.device, dtype):
                        raise Unavailable(f"{name} cannot compute on {machine.device} in {dtype}: {reason}")
        except UserError as error:
            raise Unavailable(str(error)) from None
        yield framework
