"""What modules receive, answer and get back, recorded while the whole model runs."""

from typing import Any

import numpy as np
from jittor import Var, nn

from frameworks.arrays import Arrays
from frameworks.jittor_rtdetr.exchange import to_numpy


class Capture:
    """Records what modules receive and answer (first call), and later the cotangents of their answers."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        self.inputs: dict[str, tuple[Any, ...]] = {}
        self.outputs: dict[str, list[Var]] = {}
        modules = dict(model.named_modules())
        for name in names:
            modules[name].execute = self._hook(name, modules[name].execute)

    def _hook(self, name: str, execute: Any) -> Any:
        # Wrapped by hand: Jittor keeps one forward hook a module, and a second one replaces it silently.
        def record(*inputs: Any) -> Any:
            output = execute(*inputs)
            if name not in self.inputs:
                self.inputs[name], self.outputs[name] = inputs, as_list(output)
            return output

        return record

    def watched(self) -> dict[str, Var]:
        """Outputs whose gradient is wanted, by the name of their cotangent."""
        return {
            f"capture/{name}/cotangent/{k}": value
            for name, values in self.outputs.items()
            for k, value in enumerate(values)
            if not value.is_stop_grad()
        }

    def arrays(self) -> Arrays:
        arrays: Arrays = {}
        for name, values in self.inputs.items():
            for k, value in enumerate(values):
                if value is not None:
                    array = to_numpy(value) if isinstance(value, Var) else np.asarray(value, np.int64)
                    arrays[f"capture/{name}/input/{k}"] = array
        for name, outputs in self.outputs.items():
            arrays |= {f"capture/{name}/output/{k}": to_numpy(value) for k, value in enumerate(outputs)}
        return arrays


def as_list(output: Any) -> list[Var]:
    """A module's answer as a list, be it one tensor or several."""
    return list(output) if isinstance(output, (list, tuple)) else [output]
