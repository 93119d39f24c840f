"""A Jittor model as one side of a diagnosis; import it before anything that imports Jittor, which it starts.

The same members as ``torch_model.py``. What differs in Jittor: a module is recorded by wrapping its ``execute``,
since Jittor keeps one forward hook per module; ``jt.grad`` gives zeros where no gradient flows.
"""

# Jittor's type stub lacks operators and half the methods of Var.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.diagnosis.calls import tensors_in, with_tensors
from experiments.diagnosis.own_model import LOSS, require_input_count, require_modules, require_state
from frameworks.arrays import Arrays
from frameworks.jittor_rtdetr.runtime.environment import import_jittor
from frameworks.protocol import DEVICE_VARIABLE
from frameworks.shared.trace_names import captured, prefixed

jt = import_jittor(os.environ.get(DEVICE_VARIABLE, "cpu"))

from jittor import Var, nn  # noqa: E402


class JittorModel:
    """See ``OwnModel``, and ``TorchModel`` for the arguments. Dropout is switched off, as there."""

    def __init__(
        self,
        build: Callable[[], nn.Module],
        step: Callable[[Any, dict[str, Var]], dict[str, Var]],
        inputs: Callable[[], Arrays] = dict,
        modules: tuple[str, ...] = (),
    ) -> None:
        self.build, self.step, self.inputs, self.modules = build, step, inputs, modules

    def weights(self) -> Arrays:
        """As in ``OwnModel``."""
        jt.set_global_seed(0)  # the same in every diagnosis
        return {name: _array(value) for name, value in self.build().state_dict().items()}

    def run(self, weights: Arrays, inputs: Arrays, dtype: str, training: bool, modules: list[str] | None) -> Arrays:
        """As in ``OwnModel``."""
        self.dtype = dtype
        self.model = self.build()
        for module in self.model.modules():  # not Module.eval(): it also stops the gradient of every parameter
            module.is_train = training
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        self.start = weights
        parameters = self._load()
        require_modules(self.modules, dict(self.model.named_modules()))
        recording = Recording(self.model, self.modules if modules is None else modules)
        results = self.step(self.model, {name: self._tensor(array) for name, array in inputs.items()})
        recording.stop()
        self.calls = recording.calls
        trace = prefixed("forward", {n: _array(y) for n, y in results.items() if n != LOSS}) | recording.arrays
        if LOSS in results:
            loss = results[LOSS]
            wanted = prefixed("gradient", parameters) | captured("cotangent", recording.outputs)
            trace |= {f"loss/{LOSS}": _array(loss).reshape(())} | _gradients(loss, wanted)
        state = {n: v for n, v in self.model.state_dict().items() if n not in parameters and _is_float(v)}
        return trace | prefixed("statistic", {n: _array(v) for n, v in state.items()})

    def alone(self, module: str, given: Arrays) -> Arrays:
        """As in ``OwnModel``."""
        parameters = {n: p for n, p in self._load().items() if n.startswith(f"{module}.")}
        call = self.calls[module]
        require_input_count(module, given, len(tensors_in(call, Var)))
        leaves = [self._tensor(given[f"input/{k}"]) for k in range(len(tensors_in(call, Var)))]
        # Copies, because a module may stop the gradients of its arguments.
        arguments, named = with_tensors(call, Var, (leaf.clone() for leaf in leaves))
        outputs = tensors_in(dict(self.model.named_modules())[module](*arguments, **named), Var)
        trace = {f"output/{k}": _array(y) for k, y in enumerate(outputs)}
        wanted = prefixed("gradient", parameters) | {f"gradient_input/{k}": leaf for k, leaf in enumerate(leaves)}
        # Jittor differentiates scalars only: <output, cotangent> has the wanted gradients.
        ends = [
            (y * self._tensor(given[f"cotangent/{k}"]).stop_grad()).sum()
            for k, y in enumerate(outputs)
            if f"cotangent/{k}" in given and not y.is_stop_grad()
        ]
        return trace | (_gradients(sum(ends[1:], start=ends[0]), wanted) if ends else {})

    def _load(self) -> dict[str, Var]:
        """Fill the whole state with new variables in the run's dtype; returns those that get gradients, by name."""
        state, modules = self.model.state_dict(), dict(self.model.named_modules())
        require_state(self.start, {name: tuple(value.shape) for name, value in state.items()})
        parameters: dict[str, Var] = {}
        for name, old in state.items():
            owner, _, leaf = name.rpartition(".")
            value = self._tensor(self.start[name])
            if old.is_stop_grad():
                value = value.stop_grad()
            else:
                parameters[name] = value
            setattr(modules[owner], leaf, value)
        return parameters

    def _tensor(self, array: np.ndarray) -> Var:
        return jt.array(np.ascontiguousarray(array.astype(self.dtype) if array.dtype.kind == "f" else array))


class Recording:
    """Wrapped modules until ``stop``: of the first call of each, the arguments, inputs and outputs."""

    def __init__(self, model: nn.Module, names: list[str] | tuple[str, ...]) -> None:
        self.calls: dict[str, Any] = {}  # module -> (arguments, named arguments)
        self.outputs: dict[str, list[Var]] = {}
        self.arrays: Arrays = {}
        modules = {name: module for name, module in model.named_modules() if name}
        self.wrapped = [modules[name] for name in names or modules if name in modules]
        for name in names or modules:
            if name in modules:
                modules[name].execute = self._recorded(name, modules[name].execute)

    def stop(self) -> None:
        """Give the modules their own ``execute`` back."""
        for module in self.wrapped:
            del module.__dict__["execute"]

    def _recorded(self, name: str, execute: Any) -> Any:
        def record(*arguments: Any, **named: Any) -> Any:
            if name in self.calls:
                return execute(*arguments, **named)
            inputs = [_array(x) for x in tensors_in((arguments, named), Var)]
            self.calls[name] = with_tensors((arguments, named), Var, (jt.array(x) for x in inputs))
            output = execute(*arguments, **named)
            self.outputs[name] = tensors_in(output, Var)
            self.arrays |= captured("input", {name: inputs})
            self.arrays |= captured("output", {name: [_array(y) for y in self.outputs[name]]})
            return output

        return record


def _gradients(end: Var, wanted: dict[str, Var]) -> Arrays:
    """Gradients of the sum of ``end`` with respect to named variables; without those whose gradient is stopped."""
    reached = {name: value for name, value in wanted.items() if _is_float(value) and not value.is_stop_grad()}
    if not reached or end.is_stop_grad():
        return {}
    # Each variable once: a module may return what its last part returned, and the second gradient would be zero.
    once = {id(value): value for value in reached.values()}
    found = dict(zip(once, jt.grad(end, list(once.values())), strict=True))
    return {name: _array(found[id(value)]) for name, value in reached.items()}


def _is_float(value: Var) -> bool:
    return str(value.dtype).startswith("float")


def _array(value: Var) -> np.ndarray:
    return np.array(value.numpy())
