"""A framework for a worker process that computes nothing and keeps $LEAKED_BYTES of every step."""

import os

import numpy as np

from experiments.tests.steppers import CountingFramework, CountingStepper

_kept: list[np.ndarray] = []


def _keep(step: int) -> None:
    _stepper.calls.clear()
    _kept.append(np.ones(int(os.environ["LEAKED_BYTES"]), np.uint8))


_stepper = CountingStepper(fault=_keep)
FRAMEWORK = CountingFramework(_stepper)
