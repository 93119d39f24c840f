"""Reads the loss, optimizer and schedule sections of an official file as a CriterionSpec and a RecipeSpec."""

from dataclasses import replace
from typing import Any

from frameworks.config.model import ModelSpec
from frameworks.config.official.model import read_num_classes
from frameworks.config.official.section import Section
from frameworks.config.training import LOSSES, CriterionSpec, MatcherSpec, ParameterGroup, RecipeSpec

# Official class of the criterion -> its losses, in the order of LOSSES.
_KNOWN = {
    "SetCriterion": ("labels", "bce", "focal", "vfl", "boxes"),
    "RTDETRCriterion": ("labels", "focal", "vfl", "boxes"),
    "RTDETRCriterionv2": ("focal", "vfl", "boxes"),
}


def read_criterion(top: Section, name: str, model: ModelSpec) -> CriterionSpec:
    """The losses and their matcher; ``name`` is the official class of the criterion."""
    with top.section(name) as section:
        losses = _read_losses(section, name)
        _check_num_classes(top, section, model.num_classes, background="labels" in losses)
        fields = _read_options_v2(section) if name == "RTDETRCriterionv2" else _read_eos_coef(section, losses)
        with section.section("weight_dict") as weights:
            fields |= _read_weights(weights, _KNOWN[name], losses)
        alpha, gamma = section.take("alpha", float, 0.2), section.take("gamma", float, 2.0)
        return CriterionSpec(alpha=alpha, gamma=gamma, matcher=_read_matcher(top, section), losses=losses, **fields)


def _read_losses(section: Section, name: str) -> tuple[str, ...]:
    """The losses in the order of LOSSES: their order changes no result."""
    given, known = section.take("losses", tuple[str, ...]), _KNOWN[name]
    logged = () if name == "RTDETRCriterionv2" else ("cardinality",)
    unknown = [loss for loss in given if loss not in (*known, *logged)]
    if unknown:
        section.refuse("losses", list(given), f"{', '.join(unknown)} is not among {', '.join(known)} of {name}")
    if "cardinality" in given:
        section.note("losses", "cardinality is a count for the log, without a weight or a gradient")
    return tuple(loss for loss in known if loss in given)


def _check_num_classes(top: Section, section: Section, logits: int, *, background: bool) -> None:
    """Refuse a criterion with which the official code would fail: its classes are the decoder's, or one less."""
    if background and "num_classes" in top:
        why = "labels needs a logit for the background: give decoder and criterion num_classes N + 1 and N, each"
        top.refuse("num_classes", top.take("num_classes", int), f"{why} in its own section, none at the top level")
    own, expected = read_num_classes(top, section), logits - background
    if own != expected:
        section.refuse("num_classes", own, f"expected {expected}: the decoder has {logits} logits")


def _read_options_v2(section: Section) -> dict[str, Any]:
    weighted = section.only("boxes_weight_format", None, "iou", "giou", default=None)
    shared = section.take("share_matched_indices", bool, False)
    return {"boxes_weight_format": weighted or "none", "share_matched_indices": shared}


def _read_eos_coef(section: Section, losses: tuple[str, ...]) -> dict[str, Any]:
    if "labels" in losses:
        return {"eos_coef": section.take("eos_coef", float, 1e-4)}
    section.aside("only the cross-entropy (labels) reads it", "eos_coef")
    return {}


def _read_weights(weights: Section, known: tuple[str, ...], losses: tuple[str, ...]) -> dict[str, Any]:
    """The weights of the losses; the official code leaves out a loss without a weight."""
    fields: dict[str, Any] = {}
    for loss, kinds in ((loss, LOSSES[loss]) for loss in known):
        for kind in kinds:
            if loss in losses:
                fields[f"weight_{kind}"] = weights.take(f"loss_{kind}", float, 0.0)
            else:
                weights.aside(f"{loss} is not among the losses", f"loss_{kind}")
    return fields


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
        focal = top.take("use_focal_loss", bool, section.take("use_focal_loss", bool, False))
        with section.section("weight_dict") as costs:
            class_, bbox, giou = (costs.take(f"cost_{cost}", float) for cost in ("class", "bbox", "giou"))
        alpha, gamma = section.take("alpha", float, 0.25), section.take("gamma", float, 2.0)
    return MatcherSpec(class_, bbox, giou, alpha, gamma, use_focal_loss=focal)


def read_postprocessor(top: Section, model: ModelSpec, matcher: MatcherSpec) -> None:
    """Refuse a postprocessor that does not follow from model and matcher; the spec has no fields for it."""
    with top.section("RTDETRPostProcessor") as section:
        why = "as many detections leave a model as it has queries"
        section.only("num_top_queries", model.decoder.num_queries, default=300, why=why)
        focal = top.take("use_focal_loss", bool, section.take("use_focal_loss", bool, True))
        if focal != matcher.use_focal_loss:
            same = f"the matcher's is {matcher.use_focal_loss}, and the spec has one for both"
            section.refuse("use_focal_loss", focal, f"{same}: write use_focal_loss at the top level")
        if not focal:
            why = "softmax over the classes; the official one is over the images of a batch (docs/pitfalls.md G.4)"
            section.note("use_focal_loss", why)
        remap = top.take("remap_mscoco_category", bool, False)
        why = "the top-level remap_mscoco_category counts"
        section.only("remap_mscoco_category", remap, default=remap, why=why)
        own = read_num_classes(top, section)
        if focal and own != model.num_classes:
            section.refuse("num_classes", own, f"expected {model.num_classes}, the decoder's")


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
