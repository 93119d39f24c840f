"""AdamW over the recipe's parameter groups, and gradient clipping by the global norm."""

import jittor as jt
from jittor import Var

from frameworks.config import RecipeSpec
from frameworks.jittor_rtdetr.operators import adamw, constant, scaled, sum_of_squares


class AdamW:
    """AdamW (arXiv 1711.05101) with its state under canonical parameter names.

    Decoupled weight decay, eps added after the square root of the bias-corrected second moment.
    ``jt.optim.AdamW`` also updates parameters that got no gradient and keeps its state by position.
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
        for name, gradient in gradients.items():
            parameter = self.parameters[name]
            if name not in self.steps:
                self.moment1[name] = jt.zeros_like(parameter).stop_grad()
                self.moment2[name] = jt.zeros_like(parameter).stop_grad()
                self.steps[name] = 0
            self.steps[name] += 1
            numbers = self._numbers(name, learning_rates[self.group[name]])
            old = (parameter, self.moment1[name], self.moment2[name], gradient)
            new = adamw(*old, numbers)
            for variable, value in zip(old, new, strict=False):  # the gradient stays
                variable.update(value)

    def _numbers(self, name: str, lr: float) -> dict[str, float]:
        """Factors of this step in ``operators.adamw``."""
        (beta1, beta2), steps = self.recipe.betas, self.steps[name]
        return {
            "beta1": beta1,
            "rest1": 1 - beta1,
            "beta2": beta2,
            "rest2": 1 - beta2,
            "root_correction": (1 - beta2**steps) ** 0.5,
            "eps": self.recipe.eps,
            "kept": 1 - lr * self.recipe.groups[self.group[name]].weight_decay,
            "rate": lr / (1 - beta1**steps),
        }

    def state(self) -> dict[str, Var]:
        """``moment1/NAME``, ``moment2/NAME`` and ``steps/NAME`` of every parameter updated so far."""
        state = {}
        for name, count in self.steps.items():
            state[f"moment1/{name}"] = self.moment1[name]
            state[f"moment2/{name}"] = self.moment2[name]
            state[f"steps/{name}"] = jt.array([float(count)])
        return state

    def load(self, state: dict[str, Var]) -> None:
        """Restore a state from ``state()``; parameters missing from it start fresh."""
        self.steps, self.moment1, self.moment2 = {}, {}, {}
        for name, parameter in self.parameters.items():
            if f"steps/{name}" in state:
                self.steps[name] = int(state[f"steps/{name}"].item())
                self.moment1[name] = state[f"moment1/{name}"].cast(parameter.dtype).stop_grad()
                self.moment2[name] = state[f"moment2/{name}"].cast(parameter.dtype).stop_grad()


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
