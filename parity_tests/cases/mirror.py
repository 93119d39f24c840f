"""The adapter of a third framework for the tests: the PyTorch twin under the name "mirror".

Where the environment variable MIRROR_FAULT names a weight, its traces use 1.01 times that weight.
"""

import os
from collections.abc import Mapping
from typing import Any

from frameworks.arrays import Arrays
from frameworks.protocol import Case
from frameworks.torch_rtdetr.adapter import FRAMEWORK as TORCH

FAULT = "MIRROR_FAULT"


class Mirror:
    """See ``frameworks.protocol.Framework``; the members that are not here are the PyTorch twin's."""

    name = "mirror"

    def __getattr__(self, member: str) -> Any:
        return getattr(TORCH, member)

    def environment(self, device: str) -> Mapping[str, Any]:
        """The PyTorch twin's, under this framework's name."""
        return {**TORCH.environment(device), "framework": self.name}

    def trace(self, case: Case, weights: Arrays, inputs: Arrays, *, device: str, dtype: str) -> Arrays:
        """The PyTorch twin's trace, with the planted fault."""
        if name := os.environ.get(FAULT):
            weights = weights | {name: weights[name] * weights[name].dtype.type(1.01)}
        return TORCH.trace(case, weights, inputs, device=device, dtype=dtype)


FRAMEWORK = Mirror()
