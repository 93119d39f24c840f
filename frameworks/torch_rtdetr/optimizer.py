"""AdamW over the recipe's parameter groups, and gradient clipping by the global norm."""

import torch
from torch import Tensor, nn

from frameworks.config import RecipeSpec


class AdamW:
    """AdamW (arXiv 1711.05101) with its state under canonical parameter names.

    Decoupled weight decay, eps added after the square root of the bias-corrected second moment. The fused form
    reads and writes every tensor once.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], recipe: RecipeSpec) -> None:
        self.parameters = parameters
        self.recipe = recipe
        groups = [{"params": [], "lr": group.lr, "weight_decay": group.weight_decay} for group in recipe.groups]
        for name, parameter in parameters.items():
            groups[recipe.group_of(name)]["params"].append(parameter)
        self.inner = torch.optim.AdamW(groups, betas=recipe.betas, eps=recipe.eps, fused=True)

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
        """``moment1/NAME``, ``moment2/NAME`` and ``steps/NAME`` of every parameter updated so far."""
        state = {}
        for name, parameter in self.parameters.items():
            if entry := self.inner.state.get(parameter):
                state[f"moment1/{name}"] = entry["exp_avg"]
                state[f"moment2/{name}"] = entry["exp_avg_sq"]
                state[f"steps/{name}"] = entry["step"]
        return state

    def load(self, state: dict[str, Tensor]) -> None:
        """Restore a state from ``state()``; parameters missing from it start fresh."""
        self.inner.state.clear()
        for name, parameter in self.parameters.items():
            if f"steps/{name}" in state:
                self.inner.state[parameter] = {
                    "step": state[f"steps/{name}"].to(parameter.device, torch.float32),
                    "exp_avg": state[f"moment1/{name}"].to(parameter),
                    "exp_avg_sq": state[f"moment2/{name}"].to(parameter),
                }


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
