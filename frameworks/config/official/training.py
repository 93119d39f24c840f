"""Reads the loss, optimizer and schedule sections of an official file as a CriterionSpec and a RecipeSpec."""

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
        groups = _read_groups(section)
        betas = section.take("betas", tuple[float, float], (0.9, 0.999))
        eps = section.take("eps", float, 1e-8)
    milestones, gamma = _read_schedule(top)
    decay, ema_warmup_steps = _read_ema(top)
    return RecipeSpec(
        groups=groups,
        betas=betas,
        eps=eps,
        clip_max_norm=top.optional("clip_max_norm", float) or 0.0,
        warmup_steps=0 if legacy else _read_warmup(top),
        milestones=milestones,
        gamma=gamma,
        ema_decay=decay,
        ema_warmup_steps=ema_warmup_steps,
        epochs=top.take("epoches", int),
        tuning=top.optional("tuning", str) or "",
    )


def _read_groups(section: Section) -> tuple[ParameterGroup, ...]:
    """The groups as written, and a last one for all other parameters, as the official code adds it."""
    section.only("type", "AdamW")
    lr = section.take("lr", float, 1e-3)  # PyTorch's defaults
    weight_decay = section.take("weight_decay", float, 1e-2)
    groups = []
    for part in section.sections("params"):
        with part:
            pattern = part.take("params", str)
            own = part.take("lr", float, lr), part.take("weight_decay", float, weight_decay)
            groups.append(ParameterGroup(pattern, *own))
    return (*groups, ParameterGroup("", lr, weight_decay))


def _read_schedule(top: Section) -> tuple[tuple[int, ...], float]:
    if "lr_scheduler" not in top:
        return (), 0.1
    with top.section("lr_scheduler") as section:
        section.only("type", "MultiStepLR")
        return section.take("milestones", tuple[int, ...]), section.take("gamma", float, 0.1)


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
