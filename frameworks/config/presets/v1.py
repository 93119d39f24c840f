"""RT-DETR: the official configs of ``rtdetr_pytorch``, as they resolve (lyuwenyu/RT-DETR, commit 068dfde).

All train 72 epochs without warm-up, on 4 GPUs with 4 images each (RegNet 8), and draw a size for every batch to
the end. The first group whose pattern matches wins; ``""`` takes the rest.
"""

from dataclasses import replace

from frameworks.config.backbones import BackboneSpec, DLASpec, PResNetSpec, RegNetSpec
from frameworks.config.experiment import ExperimentSpec
from frameworks.config.model import DecoderSpec, EncoderSpec, ModelSpec
from frameworks.config.training import AugmentationSpec, CriterionSpec, DataSpec, ParameterGroup, RecipeSpec

R18VD = PResNetSpec()
R34VD = PResNetSpec(blocks=(3, 4, 6, 3))
R50VD = PResNetSpec(block="bottleneck", blocks=(3, 4, 6, 3), freeze_at=0, freeze_norm=True)
R101VD = replace(R50VD, blocks=(3, 4, 23, 3))

SMALL = EncoderSpec(expansion=0.5)
LARGE = EncoderSpec(expansion=1.0)
EXTRA_LARGE = EncoderSpec(expansion=1.0, hidden_dim=384, dim_feedforward=2048)  # the decoder's FFN stays at 1024

SCALES = (480, 512, 544, 576, 608, 640, 640, 640, 672, 704, 736, 768, 800)  # 640 three times: drawn more often


def _rtdetr(
    name: str,
    backbone: BackboneSpec,
    encoder: EncoderSpec,
    decoder: DecoderSpec,
    groups: tuple[ParameterGroup, ...],
    batch_size: int = 4 * 4,
) -> ExperimentSpec:
    return ExperimentSpec(
        name=name,
        model=ModelSpec(backbone=backbone, encoder=encoder, decoder=decoder),
        criterion=CriterionSpec(),
        recipe=RecipeSpec(groups=groups),
        data=DataSpec(batch_size=batch_size, augmentation=AugmentationSpec(scales=SCALES)),
    )


# These two patterns miss the weights of norms that have no "norm" in their names, as encoder.input_proj.0.1.
ENCODER_UNDECAYED = ParameterGroup(r"^(?=.*encoder(?=.*bias|.*norm.*weight)).*$", lr=1e-4, weight_decay=0.0)
DECODER_UNDECAYED = ParameterGroup(r"^(?=.*decoder(?=.*bias|.*norm.*weight)).*$", lr=1e-4, weight_decay=0.0)
REST = ParameterGroup(r"", lr=1e-4, weight_decay=1e-4)
R50VD_GROUPS = (
    ParameterGroup(r"backbone", lr=1e-5, weight_decay=1e-4),
    ENCODER_UNDECAYED,
    DECODER_UNDECAYED,
    REST,
)

RTDETR_R18VD = _rtdetr(
    "rtdetr_r18vd",
    R18VD,
    SMALL,
    DecoderSpec(num_layers=3),
    groups=(
        ParameterGroup(r"^(?=.*backbone)(?=.*norm).*$", lr=1e-5, weight_decay=0.0),
        ParameterGroup(r"^(?=.*backbone)(?!.*norm).*$", lr=1e-5, weight_decay=1e-4),
        ParameterGroup(r"^(?=.*(?:encoder|decoder))(?=.*(?:norm|bias)).*$", lr=1e-4, weight_decay=0.0),
        REST,
    ),
)

RTDETR_R34VD = _rtdetr(
    "rtdetr_r34vd",
    R34VD,
    SMALL,
    DecoderSpec(num_layers=4),
    groups=(
        # "|bn" only matches a name that begins with bn: there is none, and the pattern is kept as it is.
        ParameterGroup(r"^(?=.*backbone)(?=.*norm|bn).*$", lr=1e-5, weight_decay=0.0),
        ParameterGroup(r"^(?=.*backbone)(?!.*norm|bn).*$", lr=1e-5, weight_decay=1e-4),
        ParameterGroup(r"^(?=.*(?:encoder|decoder))(?=.*(?:norm|bn|bias)).*$", lr=1e-4, weight_decay=0.0),
        REST,
    ),
)

# Six layers are trained; inference stops after the third.
RTDETR_R50VD_M = _rtdetr("rtdetr_r50vd_m", R50VD, SMALL, DecoderSpec(num_layers=6, eval_idx=2), R50VD_GROUPS)

RTDETR_R50VD = _rtdetr("rtdetr_r50vd", R50VD, LARGE, DecoderSpec(num_layers=6), R50VD_GROUPS)

RTDETR_R101VD = _rtdetr(
    "rtdetr_r101vd",
    R101VD,
    EXTRA_LARGE,
    DecoderSpec(num_layers=6),
    groups=(ParameterGroup(r"backbone", lr=1e-6, weight_decay=1e-4), REST),  # norms and biases are decayed, too
)

RTDETR_DLA34 = _rtdetr("rtdetr_dla34", DLASpec(), LARGE, DecoderSpec(num_layers=6), R50VD_GROUPS)

# The backbone has no group of its own, and its names contain "encoder".
RTDETR_REGNET = _rtdetr(
    "rtdetr_regnet",
    RegNetSpec(),
    LARGE,
    DecoderSpec(num_layers=6),
    groups=(ENCODER_UNDECAYED, DECODER_UNDECAYED, REST),
    batch_size=4 * 8,
)

V1_PRESETS = (
    RTDETR_R18VD,
    RTDETR_R34VD,
    RTDETR_R50VD_M,
    RTDETR_R50VD,
    RTDETR_R101VD,
    RTDETR_DLA34,
    RTDETR_REGNET,
)
