"""Forward hooks that record each module's inputs, outputs and output gradients."""

from typing import Any

import numpy as np
from jittor import Var, nn

from frameworks.arrays import Arrays
from frameworks.jittor_rtdetr.exchange import to_numpy
from frameworks.shared.trace_names import as_list, captured


class Capture:
    """Records inputs and outputs of the named modules, of their first call only."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        self.inputs: dict[str, tuple[Any, ...]] = {}
        self.outputs: dict[str, list[Var]] = {}
        modules = dict(model.named_modules())
        for name in names:
            modules[name].execute = self._hook(name, modules[name].execute)

    def _hook(self, name: str, execute: Any) -> Any:
        # Wrapped by hand: Jittor keeps one forward hook per module, and a second one replaces it silently.
        def record(*inputs: Any) -> Any:
            output = execute(*inputs)
            if name not in self.inputs:
                self.inputs[name], self.outputs[name] = inputs, as_list(output)
            return output

        return record

    def watched(self) -> dict[str, Var]:
        """Outputs that have a gradient, by the name of that gradient: ``capture/MODULE/cotangent/K``."""
        outputs = captured("cotangent", self.outputs)
        return {name: value for name, value in outputs.items() if not value.is_stop_grad()}

    def arrays(self) -> Arrays:
        """Everything recorded, as ``capture/MODULE/{input,output}/K``; lists of (h, w) as int64 [levels, 2]."""
        found = captured("input", self.inputs) | captured("output", self.outputs)
        return {n: to_numpy(v) if isinstance(v, Var) else np.asarray(v, np.int64) for n, v in found.items()}
