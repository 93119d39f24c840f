"""How the model is trained: matching, losses, optimizer groups, schedule, EMA, data."""

import re
from dataclasses import dataclass

from frameworks.spec.validation import SpecError, require


@dataclass(frozen=True)
class MatcherSpec:
    """Hungarian matching cost: focal classification + L1 + generalized IoU."""

    cost_class: float = 2.0
    cost_bbox: float = 5.0
    cost_giou: float = 2.0
    alpha: float = 0.25
    gamma: float = 2.0


@dataclass(frozen=True)
class CriterionSpec:
    """Varifocal, L1 and GIoU losses with their weights (official SetCriterion)."""

    weight_vfl: float = 1.0
    weight_bbox: float = 5.0
    weight_giou: float = 2.0
    alpha: float = 0.75
    gamma: float = 2.0
    aux_loss: bool = True
    matcher: MatcherSpec = MatcherSpec()

    def __post_init__(self) -> None:
        for field in ("weight_vfl", "weight_bbox", "weight_giou", "alpha", "gamma"):
            require(getattr(self, field) >= 0, self, field, "0 or more")


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters whose canonical name matches ``pattern`` (``re.search``); the first matching group wins."""

    pattern: str
    lr: float
    weight_decay: float

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            message = f"ParameterGroup.pattern is {self.pattern!r}; expected a regular expression ({error})"
            raise SpecError(message) from None
        require(self.lr >= 0, self, "lr", "0 or more")
        require(self.weight_decay >= 0, self, "weight_decay", "0 or more")


@dataclass(frozen=True)
class RecipeSpec:
    """AdamW with groups, gradient clipping, learning-rate schedule and EMA."""

    groups: tuple[ParameterGroup, ...]
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    clip_max_norm: float = 0.1  # 0: no clipping
    warmup_steps: int = 0  # linear, factor (step + 1) / warmup_steps
    milestones: tuple[int, ...] = (1000,)  # epochs
    gamma: float = 0.1
    ema_decay: float = 0.9999
    ema_warmup_steps: int = 2000
    epochs: int = 72

    def __post_init__(self) -> None:
        require(len(self.groups) > 0, self, "groups", "at least one group")
        require(all(0 <= beta < 1 for beta in self.betas), self, "betas", "two values in [0, 1)")
        require(self.eps > 0, self, "eps", "above 0")
        require(self.clip_max_norm >= 0, self, "clip_max_norm", "0 (off) or more")
        require(self.warmup_steps >= 0, self, "warmup_steps", "0 or more")
        require(0 <= self.ema_decay < 1, self, "ema_decay", "a value in [0, 1)")
        require(self.ema_warmup_steps >= 1, self, "ema_warmup_steps", "at least 1")
        require(self.epochs >= 1, self, "epochs", "at least 1")

    def group_of(self, name: str) -> int:
        """Index of the group of a canonical parameter name.

        Raises:
            SpecError: no group matches; an unmatched parameter would silently never be trained.
        """
        for index, group in enumerate(self.groups):
            if re.search(group.pattern, name):
                return index
        raise SpecError(f"no ParameterGroup.pattern matches {name!r}; add a last group with the pattern ''")


@dataclass(frozen=True)
class DataSpec:
    """Input size and batches; the augmentation is a horizontal flip for now."""

    image_size: tuple[int, int] = (640, 640)  # height, width in pixels
    batch_size: int = 16
    flip_probability: float = 0.5

    def __post_init__(self) -> None:
        require(
            all(side >= 32 and side % 32 == 0 for side in self.image_size),
            self, "image_size", "height and width that are multiples of 32 (the coarsest stride)",
        )  # fmt: skip
        require(self.batch_size >= 1, self, "batch_size", "at least 1")
        require(0 <= self.flip_probability <= 1, self, "flip_probability", "a probability")
