"""Specs of training: matching, losses, optimizer groups, schedules, weight averaging (EMA) and data."""

import re
from dataclasses import dataclass

from frameworks.config.serialization import added
from frameworks.config.validation import SpecError, require, require_choice

# Official names of the losses -> the kinds of their terms, which are named loss_KIND and weighted by weight_KIND.
LOSSES = {"labels": ("ce",), "bce": ("bce",), "focal": ("focal",), "vfl": ("vfl",), "boxes": ("bbox", "giou")}


@dataclass(frozen=True)
class MatcherSpec:
    """Hungarian matching cost: class + L1 + generalized IoU."""

    cost_class: float = 2.0
    cost_bbox: float = 5.0
    cost_giou: float = 2.0
    alpha: float = 0.25
    gamma: float = 2.0
    # False: softmax scores, here and in the post-processing, the last class being the background.
    use_focal_loss: bool = added(True)


@dataclass(frozen=True)
class CriterionSpec:
    """The losses, named as in LOSSES, with weights and constants (official SetCriterion, RTDETRCriterionv2)."""

    weight_vfl: float = 1.0
    weight_bbox: float = 5.0
    weight_giou: float = 2.0
    alpha: float = 0.75  # this and gamma: of vfl and focal
    gamma: float = 2.0
    aux_loss: bool = True
    matcher: MatcherSpec = MatcherSpec()
    losses: tuple[str, ...] = added(("vfl", "boxes"))
    weight_focal: float = added(1.0)
    weight_bce: float = added(1.0)
    weight_ce: float = added(1.0)
    eos_coef: float = added(1e-4)  # weight of the background in the cross-entropy
    # "iou" or "giou" of each pair weights its GIoU loss, and is the target of vfl ("none": the IoU is).
    boxes_weight_format: str = added("none")
    share_matched_indices: bool = added(False)  # the last layer's matching for all decoder layers

    def __post_init__(self) -> None:
        weights = [f"weight_{kind}" for kinds in LOSSES.values() for kind in kinds]
        for field in (*weights, "alpha", "gamma"):
            require(getattr(self, field) >= 0, self, field, "0 or more")
        require(self.eos_coef > 0, self, "eos_coef", "above 0: without objects in a batch, 0 divides by 0")
        require_choice(self, "boxes_weight_format", ("none", "iou", "giou"))
        known = f"one or more of {', '.join(LOSSES)}, each once"
        require(bool(self.losses) and set(self.losses) <= set(LOSSES), self, "losses", known)
        require(len(set(self.losses)) == len(self.losses), self, "losses", known)
        if "labels" in self.losses:
            alone = "no other classification loss beside labels, which alone has a background class"
            require(set(self.losses) <= {"labels", "boxes"}, self, "losses", alone)
            softmax = (
                "labels only with matcher.use_focal_loss false: with sigmoid scores the background is detected"
            )
            require(not self.matcher.use_focal_loss, self, "losses", softmax)


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters whose canonical name matches ``pattern`` (``re.search``); the first matching group wins.

    A group with the learning rate 0 is frozen: no gradient, no place in the optimizer and in the clipping norm.
    """

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
    """Optimizer with its parameter groups and schedule, gradient clipping, EMA, and the number of epochs.

    Optimizers and schedules are PyTorch's of these names. A group's ``lr`` is the rate before a milestone, at the
    start of the cosine, or at the top of the cycle. Steps are updates: several batches where they accumulate.
    """

    groups: tuple[ParameterGroup, ...]
    betas: tuple[float, float] = (0.9, 0.999)  # of adamw and adam, as eps
    eps: float = 1e-8
    clip_max_norm: float = 0.1  # 0: no clipping
    warmup_steps: int = 0  # linear, factor (step + 1) / warmup_steps on top of the schedule
    milestones: tuple[int, ...] = (1000,)  # epochs; of multistep, as gamma
    gamma: float = 0.1
    ema_decay: float = 0.9999
    ema_warmup_steps: int = 2000
    epochs: int = 72
    tuning: str = ""  # official checkpoint that the official run starts from; empty: a pretrained backbone
    optimizer: str = added("adamw")  # "adam" and "sgd" add the weight decay to the gradient
    momentum: float = added(0.0)  # of sgd
    nesterov: bool = added(False)  # of sgd with momentum
    schedule: str = added("multistep")
    schedule_by: str = added("epoch")  # "step": cosine and onecycle move with every update, not with every epoch
    schedule_length: int = added(0)  # epochs of half a cosine or of the cycle; 0: all epochs
    min_lr: float = added(0.0)  # at the end of half a cosine
    pct_start: float = added(0.3)  # share of the cycle in which the rate rises
    div_factor: float = added(25.0)  # top of the cycle / its start
    final_div_factor: float = added(1e4)  # start of the cycle / its end
    accumulate: int = added(1)  # batches whose gradients are averaged for one update
    amp: bool = added(False)  # mixed precision: the model computes in amp_dtype, all that is kept is in float32
    amp_dtype: str = added("bfloat16")  # "float16": its gradients need a scaled loss, and updates may be skipped

    def __post_init__(self) -> None:
        require(len(self.groups) > 0, self, "groups", "at least one group")
        require(all(0 <= beta < 1 for beta in self.betas), self, "betas", "two values in [0, 1)")
        require(self.eps > 0, self, "eps", "above 0")
        require(self.clip_max_norm >= 0, self, "clip_max_norm", "0 (off) or more")
        require(self.warmup_steps >= 0, self, "warmup_steps", "0 or more")
        require(0 <= self.ema_decay < 1, self, "ema_decay", "a value in [0, 1)")
        require(self.ema_warmup_steps >= 1, self, "ema_warmup_steps", "at least 1")
        require(self.epochs >= 1, self, "epochs", "at least 1")
        require(self.accumulate >= 1, self, "accumulate", "at least 1")
        require_choice(self, "amp_dtype", ("bfloat16", "float16"))
        require(self.amp or self.amp_dtype == "bfloat16", self, "amp_dtype", "bfloat16 where amp is false")
        self._check_optimizer()
        self._check_schedule()

    def _check_optimizer(self) -> None:
        require_choice(self, "optimizer", ("adamw", "adam", "sgd"))
        require(0 <= self.momentum < 1, self, "momentum", "a value in [0, 1)")
        require(
            self.momentum == 0 or self.optimizer == "sgd", self, "momentum", "0: only the optimizer 'sgd' has it"
        )
        require(self.momentum > 0 or not self.nesterov, self, "nesterov", "false where momentum is 0")

    def _check_schedule(self) -> None:
        require_choice(self, "schedule", ("multistep", "cosine", "onecycle"))
        require_choice(self, "schedule_by", ("epoch", "step"))
        require(self.schedule_length >= 0, self, "schedule_length", "0 (all epochs) or more")
        require(self.min_lr >= 0, self, "min_lr", "0 or more")
        require(0 <= self.pct_start <= 1, self, "pct_start", "a share from 0 to 1")
        require(self.div_factor >= 1, self, "div_factor", "1 or more")
        require(self.final_div_factor >= 1, self, "final_div_factor", "1 or more")

    def is_frozen(self, name: str) -> bool:
        """Whether a parameter, by its canonical name, is in a group with the learning rate 0: it is not trained."""
        return self.groups[self.group_of(name)].lr == 0

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
