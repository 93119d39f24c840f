"""A PyTorch model as one side of a diagnosis: hooks that record it, and each of its modules alone."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from experiments.diagnosis.calls import tensors_in, with_tensors
from experiments.diagnosis.own_model import LOSS, require_input_count, require_modules, require_state
from frameworks.arrays import Arrays
from frameworks.shared.trace_names import captured, prefixed


class TorchModel:
    """See ``OwnModel``. Dropout is switched off, because its draws differ between frameworks.

    Args:
        build: makes the model, for example its class.
        step: (model, inputs by name) -> results by name; ``loss``, a scalar, is differentiated, every other
            tensor is compared.
        inputs: makes the inputs as NumPy arrays; may be left out on the right.
        modules: names of the modules to compare in data-flow order; by default all, in the order in which they
            return.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        step: Callable[[Any, dict[str, Tensor]], dict[str, Tensor]],
        inputs: Callable[[], Arrays] = dict,
        modules: tuple[str, ...] = (),
    ) -> None:
        self.build, self.step, self.inputs, self.modules = build, step, inputs, modules

    def weights(self) -> Arrays:
        """As in ``OwnModel``."""
        torch.manual_seed(0)  # the same in every diagnosis
        return {name: _array(value) for name, value in self.build().state_dict().items()}

    def run(self, weights: Arrays, inputs: Arrays, dtype: str, training: bool, modules: list[str] | None) -> Arrays:
        """As in ``OwnModel``."""
        self.dtype = getattr(torch, dtype)
        self.model = self.build().to(self.dtype).train(training)
        shapes = {name: tuple(value.shape) for name, value in self.model.state_dict().items()}
        require_state(weights, shapes)
        self.start = {name: self._tensor(weights[name]) for name in shapes}
        self.model.load_state_dict(self.start)
        _without_dropout(self.model)
        require_modules(self.modules, dict(self.model.named_modules()))
        recording = Recording(self.model, self.modules if modules is None else modules)
        results = self.step(self.model, {name: self._tensor(array) for name, array in inputs.items()})
        recording.stop()
        self.calls = recording.calls
        trace = prefixed("forward", {n: _array(y) for n, y in results.items() if n != LOSS}) | recording.arrays
        wanted = {f"gradient/{n}": p for n, p in self.model.named_parameters() if p.requires_grad}
        wanted |= {n: y for n, y in captured("cotangent", recording.outputs).items() if y.requires_grad}
        if LOSS in results:
            trace |= {f"loss/{LOSS}": _array(results[LOSS]).reshape(())} | _gradients([results[LOSS]], wanted)
        trained = {name for name, _ in self.model.named_parameters()}
        state = {n: value for n, value in self.model.state_dict().items() if n not in trained}
        return trace | prefixed("statistic", {n: _array(v) for n, v in state.items() if v.is_floating_point()})

    def alone(self, module: str, given: Arrays) -> Arrays:
        """As in ``OwnModel``."""
        self.model.load_state_dict(self.start)
        call = self.calls[module]
        require_input_count(module, given, len(tensors_in(call, Tensor)))
        leaves = [self._tensor(given[f"input/{k}"]) for k in range(len(tensors_in(call, Tensor)))]
        floats = {f"gradient_input/{k}": x.requires_grad_() for k, x in enumerate(leaves) if x.is_floating_point()}
        # Copies, because a module may write into its arguments.
        arguments, named = with_tensors(call, Tensor, (leaf.clone() for leaf in leaves))
        owner = self.model.get_submodule(module)
        outputs = tensors_in(owner(*arguments, **named), Tensor)
        trace = {f"output/{k}": _array(y) for k, y in enumerate(outputs)}
        wanted = {f"gradient/{module}.{n}": p for n, p in owner.named_parameters() if p.requires_grad} | floats
        ends = {k: y for k, y in enumerate(outputs) if y.requires_grad and f"cotangent/{k}" in given}
        return trace | _gradients(
            list(ends.values()), wanted, [self._tensor(given[f"cotangent/{k}"]) for k in ends]
        )

    def _tensor(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(np.array(array))
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor


class Recording:
    """Hooks on modules until ``stop``: of the first call of each, the arguments, inputs and outputs."""

    def __init__(self, model: nn.Module, names: list[str] | tuple[str, ...]) -> None:
        self.calls: dict[str, Any] = {}  # module -> (arguments, named arguments)
        self.outputs: dict[str, list[Tensor]] = {}
        self.arrays: Arrays = {}
        modules = {name: module for name, module in model.named_modules() if name}
        self.hooks = []
        for name in names or modules:
            if name in modules:
                before, after = functools.partial(self._before, name), functools.partial(self._after, name)
                self.hooks.append(modules[name].register_forward_pre_hook(before, with_kwargs=True))
                self.hooks.append(modules[name].register_forward_hook(after))

    def stop(self) -> None:
        """Remove the hooks."""
        for hook in self.hooks:
            hook.remove()

    def _before(self, name: str, module: nn.Module, arguments: Any, named: Any) -> None:
        if name not in self.calls:
            # Copies now: a module may write into what it is given.
            inputs = [x.detach().clone() for x in tensors_in((arguments, named), Tensor)]
            self.calls[name] = with_tensors((arguments, named), Tensor, iter(inputs))
            self.arrays |= captured("input", {name: [_array(x) for x in inputs]})

    def _after(self, name: str, module: nn.Module, arguments: Any, output: Any) -> Any:
        if name in self.outputs:
            return None
        self.outputs[name] = tensors_in(output, Tensor)
        self.arrays |= captured("output", {name: [_array(y) for y in self.outputs[name]]})
        # What follows gets a copy: if it writes into it, the recorded output still has its own gradient.
        return with_tensors(output, Tensor, (y.clone() for y in self.outputs[name]))


def _gradients(ends: list[Tensor], wanted: dict[str, Tensor], cotangents: list[Tensor] | None = None) -> Arrays:
    """Gradients of the ends with respect to named tensors; those that no gradient reaches are left out."""
    if not ends or not wanted:
        return {}
    found = torch.autograd.grad(ends, list(wanted.values()), cotangents, allow_unused=True)
    return {name: _array(g) for name, g in zip(wanted, found, strict=True) if g is not None}


def _without_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
        elif isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0


def _array(tensor: Tensor) -> np.ndarray:
    return np.array(tensor.detach().cpu().numpy())
