"""The recipe's optimizer over its parameter groups, accumulated gradients, and clipping by the global norm."""

import jittor as jt
from jittor import Var

from frameworks.config import RecipeSpec
from frameworks.jittor_rtdetr.operators import adamw, constant, plus, scaled, sum_of_squares


class Optimizer:
    """AdamW (arXiv 1711.05101), Adam or SGD with its state under canonical parameter names.

    AdamW decays the weights themselves; Adam and SGD add the decay to the gradient. Adam's eps is added after the
    square root of the bias-corrected second moment. Jittor's own optimizers also update parameters that got no
    gradient, keep their state by position, and its Adam adds eps before the correction.
    """

    def __init__(self, parameters: dict[str, Var], recipe: RecipeSpec) -> None:
        self.parameters = parameters
        self.recipe = recipe
        self.group = {name: recipe.group_of(name) for name in parameters}
        self.moment1: dict[str, Var] = {}
        self.moment2: dict[str, Var] = {}
        self.steps: dict[str, int] = {}

    def step(self, gradients: dict[str, Var], learning_rates: list[float]) -> None:
        """Update the parameters in place; ``learning_rates`` has one rate per group.

        A parameter without a gradient does not change at all: no decay, no moment.
        """
        update = self._sgd if self.recipe.optimizer == "sgd" else self._adam
        for name, gradient in gradients.items():
            decay = self.recipe.groups[self.group[name]].weight_decay
            if self.recipe.optimizer != "adamw" and decay:
                gradient = plus(gradient, decay, self.parameters[name])
            update(name, gradient, learning_rates[self.group[name]])

    def _adam(self, name: str, gradient: Var, lr: float) -> None:
        parameter = self.parameters[name]
        if name not in self.steps:
            self.moment1[name] = jt.zeros_like(parameter).stop_grad()
            self.moment2[name] = jt.zeros_like(parameter).stop_grad()
            self.steps[name] = 0
        self.steps[name] += 1
        old = (parameter, self.moment1[name], self.moment2[name], gradient)
        new = adamw(*old, self._numbers(name, lr))
        for variable, value in zip(old, new, strict=False):  # the gradient stays
            variable.update(value)

    def _sgd(self, name: str, gradient: Var, lr: float) -> None:
        parameter, momentum = self.parameters[name], self.recipe.momentum
        if momentum:
            if name not in self.moment1:
                self.moment1[name] = jt.zeros_like(parameter).stop_grad()
            moment = plus(gradient, momentum, self.moment1[name])
            self.moment1[name].update(moment)
            gradient = plus(gradient, momentum, moment) if self.recipe.nesterov else moment
        parameter.update(plus(parameter, -lr, gradient))

    def _numbers(self, name: str, lr: float) -> dict[str, float]:
        """Factors of this step in ``operators.adamw``."""
        (beta1, beta2), steps = self.recipe.betas, self.steps[name]
        decay = self.recipe.groups[self.group[name]].weight_decay if self.recipe.optimizer == "adamw" else 0.0
        return {
            "beta1": beta1,
            "rest1": 1 - beta1,
            "beta2": beta2,
            "rest2": 1 - beta2,
            "root_correction": (1 - beta2**steps) ** 0.5,
            "eps": self.recipe.eps,
            "kept": 1 - lr * decay,
            "rate": lr / (1 - beta1**steps),
        }

    def state(self) -> dict[str, Var]:
        """``moment1/NAME``, ``moment2/NAME`` and ``steps/NAME`` of every parameter updated so far.

        SGD has ``moment1`` alone, and without momentum nothing.
        """
        state = {}
        for name, moment in self.moment1.items():
            state[f"moment1/{name}"] = moment
            if name in self.steps:
                state[f"moment2/{name}"] = self.moment2[name]
                state[f"steps/{name}"] = jt.array([float(self.steps[name])])
        return state

    def load(self, state: dict[str, Var]) -> None:
        """Restore a state from ``state()``; parameters missing from it start fresh."""
        self.steps, self.moment1, self.moment2 = {}, {}, {}
        for name, parameter in self.parameters.items():
            if f"moment1/{name}" in state:
                self.moment1[name] = state[f"moment1/{name}"].cast(parameter.dtype).stop_grad()
            if f"steps/{name}" in state:
                self.steps[name] = int(state[f"steps/{name}"].item())
                self.moment2[name] = state[f"moment2/{name}"].cast(parameter.dtype).stop_grad()


def add_gradients(total: dict[str, Var], gradients: dict[str, Var], share: float) -> dict[str, Var]:
    """total + share * gradients by name; a name that one side lacks counts as zero there."""
    if share == 1:
        return total | gradients  # alone in its update: nothing to add to
    start = {name: jt.zeros_like(gradient) for name, gradient in gradients.items() if name not in total} | total
    return total | {name: plus(start[name], share, part).stop_grad() for name, part in gradients.items()}


def clip_gradients(gradients: dict[str, Var], max_norm: float) -> tuple[dict[str, Var], Var]:
    """Scale all gradients so that their joint L2 norm is at most ``max_norm`` (0: no clipping).

    Returns:
        the gradients and their norm before clipping.
    """
    norm = jt.sqrt(sum_of_squares(list(gradients.values())))
    if max_norm == 0:
        return gradients, norm
    factor = jt.minimum(constant(max_norm, norm) / (norm + constant(1e-6, norm)), jt.ones_like(norm))
    return {name: scaled(gradient, factor) for name, gradient in gradients.items()}, norm
