"""Specs of training: matching, losses, optimizer groups, schedules, weight averaging (EMA) and data."""

import re
from dataclasses import dataclass

from frameworks.config.serialization import added
from frameworks.config.validation import SpecError, require, require_choice


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
    """AdamW with its parameter groups and schedule, gradient clipping, EMA, and the number of epochs."""

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
    tuning: str = ""  # official checkpoint that the official run starts from; empty: a pretrained backbone

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


def _are_whole(sides: tuple[int, ...]) -> bool:
    return all(side >= 32 and side % 32 == 0 for side in sides)


@dataclass(frozen=True)
class AugmentationSpec:
    """Random changes to training images, as probabilities; official order (docs/pitfalls.md I.1)."""

    photometric_distort: float = 0.5
    zoom_out: float = 0.5  # onto a black canvas of 1 to 4 times the side
    iou_crop: float = 0.8
    horizontal_flip: float = 0.5
    min_box_size: float = 1.0  # pixels; smaller boxes are dropped after cropping and after resizing
    strong_stop_epoch: int = 0  # from this epoch on only the flip is left; 0: never
    scales: tuple[
        int, ...
    ] = ()  # sides in pixels, one of them drawn for each batch; empty: no multi-scale training
    scales_stop_epoch: int = 0  # from this epoch on the image size is fixed; 0: never

    def __post_init__(self) -> None:
        for field in ("photometric_distort", "zoom_out", "iou_crop", "horizontal_flip"):
            require(0 <= getattr(self, field) <= 1, self, field, "a probability")
        require(self.min_box_size >= 0, self, "min_box_size", "0 or more pixels")
        require(self.strong_stop_epoch >= 0, self, "strong_stop_epoch", "0 (never) or more")
        require(self.scales_stop_epoch >= 0, self, "scales_stop_epoch", "0 (never) or more")
        require(_are_whole(self.scales), self, "scales", "multiples of 32 (the coarsest stride)")


@dataclass(frozen=True)
class DataSpec:
    """Data set, input size, batch size and augmentation."""

    dataset: str = (
        "coco"  # COCO's 80 classes by the official remap; "voc": Pascal VOC's; "custom": the data set's own
    )
    image_size: tuple[int, int] = (640, 640)  # height, width in pixels
    batch_size: int = 16  # over all GPUs of the official run
    augmentation: AugmentationSpec = AugmentationSpec()
    categories: tuple[str, ...] = added(())  # names of the classes by label; empty: COCO's 80, or not known yet

    def __post_init__(self) -> None:
        require_choice(self, "dataset", ("coco", "voc", "custom"))
        require(len(set(self.categories)) == len(self.categories), self, "categories", "every name once")
        expected = "height and width that are multiples of 32 (the coarsest stride)"
        require(_are_whole(self.image_size), self, "image_size", expected)
        require(self.batch_size >= 1, self, "batch_size", "at least 1")
