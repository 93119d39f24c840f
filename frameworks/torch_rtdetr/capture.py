"""Forward hooks that record each module's inputs, outputs and output gradients."""

from typing import Any

import numpy as np
from torch import Tensor, nn

from frameworks.arrays import Arrays
from frameworks.shared.trace_names import as_list, captured
from frameworks.torch_rtdetr.exchange import to_numpy


class Capture:
    """Records inputs and outputs of the named modules, of their first call only."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        self.inputs: dict[str, tuple[Any, ...]] = {}
        self.outputs: dict[str, list[Tensor]] = {}
        for name in names:
            model.get_submodule(name).register_forward_hook(self._hook(name))

    def _hook(self, name: str) -> Any:
        def record(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if name not in self.inputs:
                self.inputs[name], self.outputs[name] = inputs, as_list(output)

        return record

    def watched(self) -> dict[str, Tensor]:
        """Outputs that have a gradient, by the name of that gradient: ``capture/MODULE/cotangent/K``."""
        outputs = captured("cotangent", self.outputs)
        return {name: value for name, value in outputs.items() if value.requires_grad}

    def arrays(self) -> Arrays:
        """Everything recorded, as ``capture/MODULE/{input,output}/K``; lists of (h, w) as int64 [levels, 2]."""
        found = captured("input", self.inputs) | captured("output", self.outputs)
        return {n: to_numpy(v) if isinstance(v, Tensor) else np.asarray(v, np.int64) for n, v in found.items()}
