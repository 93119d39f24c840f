"""Reads the loss, optimizer and schedule sections of an official file as a CriterionSpec and a RecipeSpec."""

from dataclasses import replace
from typing import Any

from frameworks.config.official.section import Section
from frameworks.config.training import CriterionSpec, MatcherSpec, ParameterGroup, RecipeSpec

FOCAL = "matching and scores are those of the focal loss (use_focal_loss)"


def read_criterion(top: Section, name: str) -> CriterionSpec:
    """The losses and their matcher; ``name`` is the official class of the criterion."""
    with top.section(name) as section:
        losses = section.take("losses", tuple[str, ...])
        if sorted(losses) != ["boxes", "vfl"]:
            section.refuse("losses", list(losses), "expected ['vfl', 'boxes']: the spec has no other losses")
        if name == "SetCriterion":
            section.aside("only the softmax loss reads it", "eos_coef")
        if name == "RTDETRCriterionv2":
            why = "all box losses weigh the same"
            section.only("boxes_weight_format", None, default=None, why=why)
            section.only("share_matched_indices", False, default=False, why="every layer is matched by itself")
        num_classes = top.take("num_classes", int, 80)
        section.only("num_classes", num_classes, default=num_classes, why="the top-level num_classes counts")
        with section.section("weight_dict") as weights:
            # The official code leaves out a loss without a weight.
            vfl, bbox, giou = (weights.take(f"loss_{loss}", float, 0.0) for loss in ("vfl", "bbox", "giou"))
        return CriterionSpec(
            weight_vfl=vfl,
            weight_bbox=bbox,
            weight_giou=giou,
            alpha=section.take("alpha", float, 0.2),
            gamma=section.take("gamma", float, 2.0),
            matcher=_read_matcher(top, section),
        )


def _read_matcher(top: Section, criterion: Section) -> MatcherSpec:
    inline = criterion.holds("matcher", dict)
    if not inline:
        criterion.only("matcher", "HungarianMatcher")
    elif "HungarianMatcher" in top:
        top.refuse("HungarianMatcher", "there twice", f"{criterion.where('matcher')} configures it, too; keep one")
    with criterion.section("matcher") if inline else top.section("HungarianMatcher") as section:
        if inline:
            section.only("type", "HungarianMatcher")
        # The top-level value counts for all sections that have the key.
        own = section.take("use_focal_loss", bool, False)
        if not top.take("use_focal_loss", bool, own):
            top.refuse("use_focal_loss", False, f"expected True: {FOCAL}")
        with section.section("weight_dict") as costs:
            class_, bbox, giou = (costs.take(f"cost_{cost}", float) for cost in ("class", "bbox", "giou"))
        alpha, gamma = section.take("alpha", float, 0.25), section.take("gamma", float, 2.0)
    return MatcherSpec(cost_class=class_, cost_bbox=bbox, cost_giou=giou, alpha=alpha, gamma=gamma)


def read_postprocessor(top: Section, num_queries: int) -> None:
    """Refuse a postprocessor that differs from the only one there is; the spec has no fields for it."""
    with top.section("RTDETRPostProcessor") as section:
        why = "as many detections leave a model as it has queries"
        section.only("num_top_queries", num_queries, default=300, why=why)
        section.only("use_focal_loss", True, default=True, why=FOCAL)
        remap = top.take("remap_mscoco_category", bool, False)
        why = "the top-level remap_mscoco_category counts"
        section.only("remap_mscoco_category", remap, default=remap, why=why)
        num_classes = top.take("num_classes", int, 80)
        section.only("num_classes", num_classes, default=num_classes, why="the top-level num_classes counts")


def read_recipe(top: Section, *, legacy: bool) -> RecipeSpec:
    """Optimizer, schedules and weight averaging; ``legacy`` tells rtdetr_pytorch, which has no warm-up."""
    with top.section("optimizer") as section:
        optimizer = _read_optimizer(section)
    schedule = _read_schedule(top, optimizer["groups"])
    decay, ema_warmup_steps = _read_ema(top)
    return RecipeSpec(
        **optimizer | schedule,
        clip_max_norm=top.optional("clip_max_norm", float) or 0.0,
        warmup_steps=0 if legacy else _read_warmup(top),
        ema_decay=decay,
        ema_warmup_steps=ema_warmup_steps,
        epochs=top.take("epoches", int),
        tuning=top.optional("tuning", str) or "",
    )


def _read_optimizer(section: Section) -> dict[str, Any]:
    """Fields of the recipe from the optimizer's section; what is left out has PyTorch's defaults."""
    kind = section.only("type", "AdamW", "Adam", "SGD")
    fields: dict[str, Any] = {"optimizer": kind.lower()}
    if kind == "SGD":
        section.only("dampening", 0, default=0)
        fields |= {
            "momentum": section.take("momentum", float, 0.0),
            "nesterov": section.take("nesterov", bool, False),
        }
    else:
        section.only("amsgrad", False, default=False)
        fields |= {"betas": section.take("betas", tuple[float, float], (0.9, 0.999))}
        fields |= {"eps": section.take("eps", float, 1e-8)}
    return fields | {"groups": _read_groups(section, 1e-2 if kind == "AdamW" else 0.0)}


def _read_groups(section: Section, default_decay: float) -> tuple[ParameterGroup, ...]:
    """The groups as written, and a last one for all other parameters, as the official code adds it."""
    lr = section.take("lr", float, 1e-3)
    weight_decay = section.take("weight_decay", float, default_decay)
    groups = []
    for part in section.sections("params"):
        with part:
            pattern = part.take("params", str)
            own = part.take("lr", float, lr), part.take("weight_decay", float, weight_decay)
            groups.append(ParameterGroup(pattern, *own))
    return (*groups, ParameterGroup("", lr, weight_decay))


def _read_schedule(top: Section, groups: tuple[ParameterGroup, ...]) -> dict[str, Any]:
    """Fields of the recipe from the scheduler's section; the official code moves every scheduler once an epoch."""
    if "lr_scheduler" not in top:
        return {"milestones": ()}
    with top.section("lr_scheduler") as section:
        kind = section.only("type", "MultiStepLR", "CosineAnnealingLR", "OneCycleLR")
        if kind == "MultiStepLR":
            milestones = section.take("milestones", tuple[int, ...])
            return {"milestones": milestones, "gamma": section.take("gamma", float, 0.1)}
        if kind == "CosineAnnealingLR":
            length = section.take("T_max", int)
            return {"schedule": "cosine", "schedule_length": length, "min_lr": section.take("eta_min", float, 0.0)}
        return _read_one_cycle(section, groups)


def _read_one_cycle(section: Section, groups: tuple[ParameterGroup, ...]) -> dict[str, Any]:
    """OneCycleLR replaces the rates of the groups by its own, one for all or one for each."""
    section.only("anneal_strategy", "cos", default="cos")
    section.only("three_phase", False, default=False)
    why = "the spec has one momentum for the whole training (PyTorch's default is true)"
    section.only("cycle_momentum", False, default=True, why=why)
    section.aside("it moves the momentum, which stays", "base_momentum", "max_momentum")
    several = section.holds("max_lr", list)
    rates = section.take("max_lr", tuple[float, ...] if several else float)
    rates = rates if several else (rates,) * len(groups)
    if len(rates) != len(groups):
        section.refuse(
            "max_lr", list(rates), f"expected {len(groups)} rates: one for each parameter group and the rest"
        )
    length = section.optional("total_steps", int)
    if length is None:
        length = section.take("epochs", int) * section.take("steps_per_epoch", int)
    else:
        section.aside("total_steps counts", "epochs", "steps_per_epoch")
    return {
        "groups": tuple(replace(group, lr=rate) for group, rate in zip(groups, rates, strict=True)),
        "schedule": "onecycle",
        "schedule_length": length,
        "pct_start": section.take("pct_start", float, 0.3),
        "div_factor": section.take("div_factor", float, 25.0),
        "final_div_factor": section.take("final_div_factor", float, 1e4),
    }


def _read_warmup(top: Section) -> int:
    if "lr_warmup_scheduler" not in top:
        return 0
    with top.section("lr_warmup_scheduler") as section:
        section.only("type", "LinearWarmup")
        return section.take("warmup_duration", int)


def _read_ema(top: Section) -> tuple[float, int]:
    with top.section("ema") as section:
        if not top.take("use_ema", bool, False):
            top.note("use_ema", "without an average: written as ema_decay 0, whose average is the model itself")
            section.aside("use_ema is false", "type", "decay", "warmups", "start")
            return 0.0, 1
        section.only("type", "ModelEMA")
        section.only("start", 0, default=0)
        return section.take("decay", float), section.take("warmups", int)
