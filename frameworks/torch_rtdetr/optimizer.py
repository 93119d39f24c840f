"""The recipe's optimizer over its parameter groups, accumulated gradients, and clipping by the global norm."""

import torch
from torch import Tensor, nn

from frameworks.config import RecipeSpec

# Names of the state here -> PyTorch's.
ADAM = {"moment1": "exp_avg", "moment2": "exp_avg_sq", "steps": "step"}
SGD = {"moment1": "momentum_buffer"}


class Optimizer:
    """AdamW (arXiv 1711.05101), Adam or SGD with its state under canonical parameter names.

    AdamW decays the weights themselves; Adam and SGD add the decay to the gradient. Adam's eps is added after the
    square root of the bias-corrected second moment. The fused forms read and write every tensor once.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], recipe: RecipeSpec) -> None:
        self.parameters = parameters
        self.recipe = recipe
        groups = [{"params": [], "lr": group.lr, "weight_decay": group.weight_decay} for group in recipe.groups]
        for name, parameter in parameters.items():
            groups[recipe.group_of(name)]["params"].append(parameter)
        self.names = SGD if recipe.optimizer == "sgd" else ADAM
        if recipe.optimizer == "sgd":
            self.inner = torch.optim.SGD(groups, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=True)
        else:
            kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
            self.inner = kind(groups, betas=recipe.betas, eps=recipe.eps, fused=True)

    def step(self, gradients: dict[str, Tensor], learning_rates: list[float]) -> None:
        """Update the parameters in place; ``learning_rates`` has one rate per group.

        A parameter without a gradient does not change at all: no decay, no moment.
        """
        for group, lr in zip(self.inner.param_groups, learning_rates, strict=True):
            group["lr"] = lr
        for name, parameter in self.parameters.items():
            parameter.grad = gradients.get(name)
        self.inner.step()
        self.inner.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """``moment1/NAME``, ``moment2/NAME`` and ``steps/NAME`` of every parameter updated so far.

        SGD has ``moment1`` alone, and without momentum nothing.
        """
        state = {}
        for name, parameter in self.parameters.items():
            entry = self.inner.state.get(parameter, {})
            for ours, theirs in self.names.items():
                if entry.get(theirs) is not None:
                    state[f"{ours}/{name}"] = entry[theirs]
        return state

    def load(self, state: dict[str, Tensor]) -> None:
        """Restore a state from ``state()``; parameters missing from it start fresh."""
        self.inner.state.clear()
        for name, parameter in self.parameters.items():
            found = {theirs: state.get(f"{ours}/{name}") for ours, theirs in self.names.items()}
            entry = {theirs: value.to(parameter) for theirs, value in found.items() if value is not None}
            if "step" in entry:
                entry["step"] = entry["step"].to(torch.float32)
            if entry:
                self.inner.state[parameter] = entry


def add_gradients(total: dict[str, Tensor], gradients: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """total + share * gradients by name; a name that one side lacks counts as zero there."""
    if share == 1:
        return total | gradients  # alone in its update: nothing to add to
    scaled = {name: gradient * share for name, gradient in gradients.items()}
    return total | {name: total[name] + part if name in total else part for name, part in scaled.items()}


def clip_gradients(gradients: dict[str, Tensor], max_norm: float) -> tuple[dict[str, Tensor], Tensor]:
    """Scale all gradients so that their joint L2 norm is at most ``max_norm`` (0: no clipping).

    Returns:
        the gradients and their norm before clipping.
    """
    tensors = list(gradients.values())
    norms = torch._foreach_norm(tensors)  # pyright: ignore[reportPrivateImportUsage]
    norm = torch.linalg.vector_norm(torch.stack(norms))
    if max_norm == 0:
        return gradients, norm
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    scaled = torch._foreach_mul(tensors, factor)  # pyright: ignore[reportPrivateImportUsage]
    return dict(zip(gradients, scaled, strict=True)), norm
