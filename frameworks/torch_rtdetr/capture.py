"""What modules receive, answer and get back, recorded while the whole model runs."""

from typing import Any

import numpy as np
from torch import Tensor, nn

from frameworks.arrays import Arrays
from frameworks.torch_rtdetr.exchange import to_numpy


class Capture:
    """Records what modules receive and answer (first call), and later the cotangents of their answers."""

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
        """Outputs whose gradient is wanted, by the name of their cotangent."""
        return {
            f"capture/{name}/cotangent/{k}": value
            for name, values in self.outputs.items()
            for k, value in enumerate(values)
            if value.requires_grad
        }

    def arrays(self) -> Arrays:
        arrays: Arrays = {}
        for name, values in self.inputs.items():
            for k, value in enumerate(values):
                if value is not None:
                    array = to_numpy(value) if isinstance(value, Tensor) else np.asarray(value, np.int64)
                    arrays[f"capture/{name}/input/{k}"] = array
        for name, outputs in self.outputs.items():
            arrays |= {f"capture/{name}/output/{k}": to_numpy(value) for k, value in enumerate(outputs)}
        return arrays


def as_list(output: Any) -> list[Tensor]:
    """A module's answer as a list, be it one tensor or several."""
    return list(output) if isinstance(output, (list, tuple)) else [output]
