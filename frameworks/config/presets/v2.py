"""RT-DETRv2: the official configs of ``rtdetrv2_pytorch``, as they resolve (lyuwenyu/RT-DETR, commit 068dfde).

All warm up over 2000 steps and train with 16 images a batch (VOC 32). Towards the end only the flip and one size
are left; the configs with R18 have one size throughout. First groups win; ``""`` takes the rest.
"""

from dataclasses import replace

from frameworks.config.backbones import HGNETV2_SIZES, BackboneSpec
from frameworks.config.experiment import ExperimentSpec
from frameworks.config.model import DecoderSpec, EncoderSpec, ModelSpec
from frameworks.config.presets.v1 import EXTRA_LARGE, LARGE, R18VD, R34VD, R50VD, R101VD, REST, SCALES, SMALL
from frameworks.config.training import AugmentationSpec, CriterionSpec, DataSpec, ParameterGroup, RecipeSpec

HUGE = EncoderSpec(expansion=1.0, hidden_dim=512, dim_feedforward=2048, num_encoder_layers=2)

RELEASES = "https://github.com/lyuwenyu/storage/releases/download/v0.1"


def _rtdetrv2(
    name: str,
    backbone: BackboneSpec,
    encoder: EncoderSpec,
    decoder: DecoderSpec,
    groups: tuple[ParameterGroup, ...],
    epochs: int,
    stop_epoch: int,
) -> ExperimentSpec:
    augmentation = AugmentationSpec(strong_stop_epoch=stop_epoch, scales=SCALES, scales_stop_epoch=stop_epoch)
    return ExperimentSpec(
        name=name,
        model=ModelSpec(version="v2", backbone=backbone, encoder=encoder, decoder=decoder),
        criterion=CriterionSpec(),
        recipe=RecipeSpec(groups=groups, warmup_steps=2000, epochs=epochs),
        data=DataSpec(augmentation=augmentation),
    )


def _one_size(spec: ExperimentSpec) -> ExperimentSpec:
    """Without multi-scale. The epoch at which it would end is left over from a base config and means nothing."""
    augmentation = replace(spec.data.augmentation, scales=(), scales_stop_epoch=71)
    return replace(spec, data=replace(spec.data, augmentation=augmentation))


def _discrete(spec: ExperimentSpec, name: str, epochs: int, stop_epoch: int, tuning: str) -> ExperimentSpec:
    """Discrete sampling, tuned from the weights of the same model with bilinear sampling."""
    augmentation = replace(spec.data.augmentation, strong_stop_epoch=stop_epoch)
    if augmentation.scales:
        augmentation = replace(augmentation, scales_stop_epoch=stop_epoch)
    return replace(
        spec,
        name=name,
        model=replace(spec.model, decoder=replace(spec.model.decoder, cross_attn_method="discrete")),
        recipe=replace(spec.recipe, epochs=epochs, tuning=f"{RELEASES}/{tuning}"),
        data=replace(spec.data, augmentation=augmentation),
    )


def _points(spec: ExperimentSpec, name: str, points: int) -> ExperimentSpec:
    decoder = replace(spec.model.decoder, num_points=(points,) * 3)
    return replace(spec, name=name, model=replace(spec.model, decoder=decoder))


R18VD_GROUPS = (ParameterGroup(r"^(?=.*(?:norm|bn)).*$", lr=1e-4, weight_decay=0.0), REST)
R34VD_GROUPS = (
    ParameterGroup(r"^(?=.*backbone)(?!.*norm|bn).*$", lr=5e-5, weight_decay=1e-4),
    ParameterGroup(r"^(?=.*backbone)(?=.*norm|bn).*$", lr=5e-5, weight_decay=0.0),
    ParameterGroup(r"^(?=.*(?:encoder|decoder))(?=.*(?:norm|bn|bias)).*$", lr=1e-4, weight_decay=0.0),
    REST,
)
UNDECAYED = ParameterGroup(r"^(?=.*(?:encoder|decoder))(?=.*(?:norm|bn)).*$", lr=1e-4, weight_decay=0.0)
R50VD_GROUPS = (ParameterGroup(r"^(?=.*backbone)(?!.*norm).*$", lr=1e-5, weight_decay=1e-4), UNDECAYED, REST)


def _large_groups(backbone_lr: float) -> tuple[ParameterGroup, ...]:
    return (ParameterGroup(r"^(?=.*backbone)(?!.*norm|bn).*$", lr=backbone_lr, weight_decay=1e-4), UNDECAYED, REST)


RTDETRV2_R18VD = _one_size(
    _rtdetrv2("rtdetrv2_r18vd", R18VD, SMALL, DecoderSpec(num_layers=3), R18VD_GROUPS, epochs=120, stop_epoch=117)
)
RTDETRV2_R34VD = _rtdetrv2(
    "rtdetrv2_r34vd", R34VD, SMALL, DecoderSpec(num_layers=4), R34VD_GROUPS, epochs=120, stop_epoch=117
)
RTDETRV2_R50VD_M = _rtdetrv2(
    "rtdetrv2_r50vd_m", R50VD, SMALL, DecoderSpec(num_layers=6, eval_idx=2), R50VD_GROUPS, epochs=84, stop_epoch=81
)
RTDETRV2_R50VD = _rtdetrv2(
    "rtdetrv2_r50vd", R50VD, LARGE, DecoderSpec(num_layers=6), R50VD_GROUPS, epochs=72, stop_epoch=71
)
RTDETRV2_R101VD = _rtdetrv2(
    "rtdetrv2_r101vd", R101VD, EXTRA_LARGE, DecoderSpec(num_layers=6), _large_groups(1e-6), epochs=72, stop_epoch=71
)
RTDETRV2_HGNETV2_L = _rtdetrv2(
    "rtdetrv2_hgnetv2_l",
    HGNETV2_SIZES["L"],
    LARGE,
    DecoderSpec(num_layers=6),
    _large_groups(5e-6),
    epochs=72,
    stop_epoch=71,
)
RTDETRV2_HGNETV2_X = _rtdetrv2(
    "rtdetrv2_hgnetv2_x", HGNETV2_SIZES["X"], EXTRA_LARGE, DecoderSpec(num_layers=6), _large_groups(1e-6),
    epochs=72, stop_epoch=71,
)  # fmt: skip
RTDETRV2_HGNETV2_H = _rtdetrv2(
    "rtdetrv2_hgnetv2_h",
    HGNETV2_SIZES["H"],
    HUGE,
    DecoderSpec(num_layers=6),
    _large_groups(5e-6),
    epochs=72,
    stop_epoch=71,
)

V2_PRESETS = (
    RTDETRV2_R18VD,
    RTDETRV2_R34VD,
    RTDETRV2_R50VD_M,
    RTDETRV2_R50VD,
    RTDETRV2_R101VD,
    RTDETRV2_HGNETV2_L,
    RTDETRV2_HGNETV2_X,
    RTDETRV2_HGNETV2_H,
    _discrete(RTDETRV2_R18VD, "rtdetrv2_r18vd_dsp", 36, 33, "rtdetrv2_r18vd_120e_coco.pth"),
    _discrete(RTDETRV2_R34VD, "rtdetrv2_r34vd_dsp", 12, 10, "rtdetrv2_r34vd_120e_coco_ema.pth"),
    _discrete(RTDETRV2_R50VD_M, "rtdetrv2_r50vd_m_dsp", 36, 33, "rtdetrv2_r50vd_m_7x_coco_ema.pth"),
    _discrete(RTDETRV2_R50VD, "rtdetrv2_r50vd_dsp", 12, 10, "rtdetrv2_r50vd_6x_coco_ema.pth"),
    _points(RTDETRV2_R18VD, "rtdetrv2_r18vd_sp1", 1),
    _points(RTDETRV2_R18VD, "rtdetrv2_r18vd_sp2", 2),
    _points(RTDETRV2_R18VD, "rtdetrv2_r18vd_sp3", 3),
    replace(
        RTDETRV2_R18VD,
        name="rtdetrv2_r18vd_voc",
        model=replace(RTDETRV2_R18VD.model, num_classes=20),
        data=replace(RTDETRV2_R18VD.data, dataset="voc", batch_size=32),
    ),
)
