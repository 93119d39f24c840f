"""RT-DETR: the official configs of ``rtdetr_pytorch``, as they resolve (lyuwenyu/RT-DETR, commit 068dfde).

All train 72 epochs without warm-up, on 4 GPUs with 4 images each (RegNet 8), and draw a size for every batch to
the end. The first group whose pattern matches wins; ``""`` takes the rest.
"""

from frameworks.config.experiment import ExperimentSpec
from frameworks.config.presets.models import MODELS
from frameworks.config.training import AugmentationSpec, CriterionSpec, DataSpec, ParameterGroup, RecipeSpec

SCALES = (480, 512, 544, 576, 608, 640, 640, 640, 672, 704, 736, 768, 800)  # 640 three times: drawn more often

REST = ParameterGroup(r"", lr=1e-4, weight_decay=1e-4)
BACKBONE = ParameterGroup(r"backbone", lr=1e-5, weight_decay=1e-4)
# These two patterns miss the weights of norms that have no "norm" in their names, as encoder.input_proj.0.1.
ENCODER_UNDECAYED = ParameterGroup(r"^(?=.*encoder(?=.*bias|.*norm.*weight)).*$", lr=1e-4, weight_decay=0.0)
DECODER_UNDECAYED = ParameterGroup(r"^(?=.*decoder(?=.*bias|.*norm.*weight)).*$", lr=1e-4, weight_decay=0.0)
R50VD_GROUPS = (BACKBONE, ENCODER_UNDECAYED, DECODER_UNDECAYED, REST)

GROUPS = {
    "r18vd": (
        ParameterGroup(r"^(?=.*backbone)(?=.*norm).*$", lr=1e-5, weight_decay=0.0),
        ParameterGroup(r"^(?=.*backbone)(?!.*norm).*$", lr=1e-5, weight_decay=1e-4),
        ParameterGroup(r"^(?=.*(?:encoder|decoder))(?=.*(?:norm|bias)).*$", lr=1e-4, weight_decay=0.0),
        REST,
    ),
    "r34vd": (
        # "|bn" only matches a name that begins with bn: there is none, and the pattern is kept as it is.
        ParameterGroup(r"^(?=.*backbone)(?=.*norm|bn).*$", lr=1e-5, weight_decay=0.0),
        ParameterGroup(r"^(?=.*backbone)(?!.*norm|bn).*$", lr=1e-5, weight_decay=1e-4),
        ParameterGroup(r"^(?=.*(?:encoder|decoder))(?=.*(?:norm|bn|bias)).*$", lr=1e-4, weight_decay=0.0),
        REST,
    ),
    "r50vd_m": R50VD_GROUPS,
    "r50vd": R50VD_GROUPS,
    "r101vd": (ParameterGroup(r"backbone", lr=1e-6, weight_decay=1e-4), REST),  # norms and biases are decayed, too
    "dla34": R50VD_GROUPS,
    # The backbone has no group of its own, and its names contain "encoder".
    "regnet": (ENCODER_UNDECAYED, DECODER_UNDECAYED, REST),
}


def _rtdetr(size: str) -> ExperimentSpec:
    images_per_gpu = 8 if size == "regnet" else 4
    return ExperimentSpec(
        name=f"rtdetr_{size}",
        model=MODELS[size],
        criterion=CriterionSpec(),
        recipe=RecipeSpec(groups=GROUPS[size]),
        data=DataSpec(batch_size=4 * images_per_gpu, augmentation=AugmentationSpec(scales=SCALES)),
    )


V1_PRESETS = {size: _rtdetr(size) for size in GROUPS}
