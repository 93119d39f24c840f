"""The recipe's optimizer over its parameter groups, accumulated gradients, and clipping by the global norm."""

import torch
from torch import Tensor, nn

from frameworks.config import RecipeSpec

# State of the loss scaling: names here -> PyTorch's.
SCALER = {"scaler/scale": "scale", "scaler/updates": "_growth_tracker"}
# Names of the optimizer's state here -> PyTorch's.
ADAM = {"moment1": "exp_avg", "moment2": "exp_avg_sq", "steps": "step"}
SGD = {"moment1": "momentum_buffer"}


class Optimizer:
    """AdamW (arXiv 1711.05101), Adam or SGD with its state under canonical parameter names.

    AdamW decays the weights themselves; Adam and SGD add the decay to the gradient. Adam's eps is added after the
    square root of the bias-corrected second moment. The fused forms read and write every tensor once.

    With ``recipe.amp`` in float16 the gradients are those of ``scaler.scale(loss)``. An update with one that is not
    finite is skipped, and the scale halved. A fused SGD then has a momentum from uninitialised memory, so that none
    of these optimizers is fused.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], recipe: RecipeSpec) -> None:
        self.parameters = parameters
        self.recipe = recipe
        groups = [{"params": [], "lr": group.lr, "weight_decay": group.weight_decay} for group in recipe.groups]
        for name, parameter in parameters.items():
            groups[recipe.group_of(name)]["params"].append(parameter)
        scaled = recipe.amp and recipe.amp_dtype == "float16"
        device = next(iter(parameters.values())).device.type
        self.scaler = torch.amp.GradScaler(device, enabled=scaled)
        self.names = SGD if recipe.optimizer == "sgd" else ADAM
        kept = {"fused": not scaled}
        if recipe.optimizer == "sgd":
            self.inner = torch.optim.SGD(groups, momentum=recipe.momentum, nesterov=recipe.nesterov, **kept)
        else:
            kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
            self.inner = kind(groups, betas=recipe.betas, eps=recipe.eps, **kept)

    def step(self, gradients: dict[str, Tensor], learning_rates: list[float]) -> None:
        """Update the parameters in place; ``learning_rates`` has one rate per group.

        A parameter without a gradient does not change at all: no decay, no moment.
        """
        for group, lr in zip(self.inner.param_groups, learning_rates, strict=True):
            group["lr"] = lr
        for name, parameter in self.parameters.items():
            gradient = gradients.get(name)
            # A fused optimizer reads a gradient in memory order, whatever its strides say (PyTorch 2.13).
            parameter.grad = None if gradient is None else gradient.contiguous()
        self.scaler.step(self.inner)
        self.scaler.update()
        self.inner.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """``moment1/NAME``, ``moment2/NAME`` and ``steps/NAME`` of every parameter updated so far.

        SGD has ``moment1`` alone, and without momentum nothing. Loss scaling adds ``scaler/scale`` and
        ``scaler/updates``, those since the scale has changed or an update was skipped.
        """
        scaling = self.scaler.state_dict()
        state = {ours: torch.tensor(scaling[theirs]) for ours, theirs in SCALER.items() if theirs in scaling}
        for name, parameter in self.parameters.items():
            entry = self.inner.state.get(parameter, {})
            for ours, theirs in self.names.items():
                if entry.get(theirs) is not None:
                    state[f"{ours}/{name}"] = entry[theirs]
        return state

    def load(self, state: dict[str, Tensor]) -> None:
        """Restore a state from ``state()``; parameters missing from it start fresh."""
        self.inner.state.clear()
        found = {theirs: state[ours].item() for ours, theirs in SCALER.items() if ours in state}
        if found:
            self.scaler.load_state_dict(self.scaler.state_dict() | found)
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


def clip_gradients(
    gradients: dict[str, Tensor], max_norm: float, loss_scale: float = 1.0
) -> tuple[dict[str, Tensor], Tensor]:
    """Scale all gradients so that their joint L2 norm is at most ``max_norm`` (0: no clipping).

    Args:
        loss_scale: what the gradients are multiples of; both norms are without it.

    Returns:
        the gradients, still multiples, and their norm before clipping.
    """
    tensors = list(gradients.values())
    norms = torch._foreach_norm(tensors)  # pyright: ignore[reportPrivateImportUsage]
    norm = torch.linalg.vector_norm(torch.stack(norms)) / loss_scale
    if max_norm == 0:
        return gradients, norm
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    scaled = torch._foreach_mul(tensors, factor)  # pyright: ignore[reportPrivateImportUsage]
    return dict(zip(gradients, scaled, strict=True)), norm
