"""RT-DETRv2: the official configs of ``rtdetrv2_pytorch``, as they resolve (lyuwenyu/RT-DETR, commit 068dfde).

All warm up over 2000 steps and train with 16 images a batch (VOC 32). Towards the end only the flip and one size
are left; the configs with R18 have one size throughout. First groups win; ``""`` takes the rest.

``ALIASES`` are the five configs in ``rtdetrv2_pytorch/configs/rtdetr``: RT-DETR as the code of RT-DETRv2 trains it.
Model, losses, epochs and data are those of the preset of ``rtdetr_pytorch`` with the same file name; only warm-up
and parameter groups differ.
"""

from dataclasses import replace

from frameworks.config.experiment import ExperimentSpec
from frameworks.config.presets import v1
from frameworks.config.presets.models import MODELS
from frameworks.config.training import AugmentationSpec, CriterionSpec, DataSpec, ParameterGroup, RecipeSpec

RELEASES = "https://github.com/lyuwenyu/storage/releases/download/v0.1"
WARMUP_STEPS = 2000


def _backbone(pattern: str, lr: float, weight_decay: float = 1e-4) -> ParameterGroup:
    return ParameterGroup(rf"^(?=.*backbone){pattern}.*$", lr=lr, weight_decay=weight_decay)


NORMS = ParameterGroup(r"^(?=.*(?:encoder|decoder))(?=.*(?:norm|bn)).*$", lr=1e-4, weight_decay=0.0)
NORMS_AND_BIASES = ParameterGroup(r"^(?=.*(?:encoder|decoder))(?=.*(?:norm|bn|bias)).*$", lr=1e-4, weight_decay=0.0)

R18VD_GROUPS = (ParameterGroup(r"^(?=.*(?:norm|bn)).*$", lr=1e-4, weight_decay=0.0), v1.REST)
R34VD_GROUPS = (
    _backbone("(?!.*norm|bn)", 5e-5),
    _backbone("(?=.*norm|bn)", 5e-5, weight_decay=0.0),
    NORMS_AND_BIASES,
    v1.REST,
)
R50VD_GROUPS = (_backbone("(?!.*norm)", 1e-5), NORMS, v1.REST)
SLOW_GROUPS = (_backbone("(?!.*norm|bn)", 1e-6), NORMS, v1.REST)
HGNETV2_GROUPS = (_backbone("(?!.*norm|bn)", 5e-6), NORMS, v1.REST)

TRAINING = {  # size -> parameter groups, epochs, epoch from which only the flip and one image size are left
    "r18vd": (R18VD_GROUPS, 120, 117),
    "r34vd": (R34VD_GROUPS, 120, 117),
    "r50vd_m": (R50VD_GROUPS, 84, 81),
    "r50vd": (R50VD_GROUPS, 72, 71),
    "r101vd": (SLOW_GROUPS, 72, 71),
    "hgnetv2_l": (HGNETV2_GROUPS, 72, 71),
    "hgnetv2_x": (SLOW_GROUPS, 72, 71),
    "hgnetv2_h": (HGNETV2_GROUPS, 72, 71),
}


def _rtdetrv2(size: str) -> ExperimentSpec:
    groups, epochs, stop = TRAINING[size]
    augmentation = AugmentationSpec(strong_stop_epoch=stop, scales=v1.SCALES, scales_stop_epoch=stop)
    if size == "r18vd":  # the stop epoch is left over from a base config and has no effect
        augmentation = replace(augmentation, scales=(), scales_stop_epoch=71)
    return ExperimentSpec(
        name=f"rtdetrv2_{size}",
        model=replace(MODELS[size], version="v2"),
        criterion=CriterionSpec(),
        recipe=RecipeSpec(groups=groups, warmup_steps=WARMUP_STEPS, epochs=epochs),
        data=DataSpec(augmentation=augmentation),
    )


def _discrete(size: str, epochs: int, stop: int, tuning: str) -> ExperimentSpec:
    """Discrete sampling, tuned from the weights of the same model with bilinear sampling."""
    spec = BASIC[size]
    augmentation = replace(spec.data.augmentation, strong_stop_epoch=stop)
    if augmentation.scales:
        augmentation = replace(augmentation, scales_stop_epoch=stop)
    return replace(
        spec,
        name=f"{spec.name}_dsp",
        model=replace(spec.model, decoder=replace(spec.model.decoder, cross_attn_method="discrete")),
        recipe=replace(spec.recipe, epochs=epochs, tuning=f"{RELEASES}/{tuning}"),
        data=replace(spec.data, augmentation=augmentation),
    )


def _points(points: int) -> ExperimentSpec:
    """R18 with another number of sampling points."""
    decoder = replace(R18VD.model.decoder, num_points=(points,) * 3)
    return replace(R18VD, name=f"{R18VD.name}_sp{points}", model=replace(R18VD.model, decoder=decoder))


BASIC = {size: _rtdetrv2(size) for size in TRAINING}
R18VD = BASIC["r18vd"]
V2_PRESETS = (
    *BASIC.values(),
    _discrete("r18vd", 36, 33, "rtdetrv2_r18vd_120e_coco.pth"),
    _discrete("r34vd", 12, 10, "rtdetrv2_r34vd_120e_coco_ema.pth"),
    _discrete("r50vd_m", 36, 33, "rtdetrv2_r50vd_m_7x_coco_ema.pth"),
    _discrete("r50vd", 12, 10, "rtdetrv2_r50vd_6x_coco_ema.pth"),
    *(_points(points) for points in (1, 2, 3)),
    replace(
        R18VD,
        name="rtdetrv2_r18vd_voc",
        model=replace(R18VD.model, num_classes=20),
        data=replace(R18VD.data, dataset="voc", batch_size=32),
    ),
)


def _alias(size: str, groups: tuple[ParameterGroup, ...]) -> ExperimentSpec:
    spec = v1.V1_PRESETS[size]
    recipe = replace(spec.recipe, groups=groups, warmup_steps=WARMUP_STEPS)
    return replace(spec, name=f"{spec.name}_v2code", recipe=recipe)


_R50VD = (_backbone("(?!.*(?:norm|bn))", 1e-5), _backbone("(?=.*(?:norm|bn))", 1e-5, weight_decay=0.0))
_ALIASES = (
    _alias("r18vd", v1.GROUPS["r34vd"]),
    _alias("r34vd", v1.GROUPS["r34vd"]),
    _alias("r50vd_m", (_backbone("(?!.*norm|bn)", 1e-5), NORMS_AND_BIASES, v1.REST)),
    _alias("r50vd", (*_R50VD, NORMS_AND_BIASES, v1.REST)),  # the second group is empty: the norms are frozen
    _alias("r101vd", SLOW_GROUPS),
)
ALIASES = {spec.name: spec for spec in _ALIASES}
