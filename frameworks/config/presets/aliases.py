"""RT-DETR as the code of RT-DETRv2 trains it: the configs in ``rtdetrv2_pytorch/configs/rtdetr``.

The official repository has 28 configs. Five of them have the model, losses, epochs and data of a config of
``rtdetr_pytorch`` and the same file name; only warm-up and optimizer groups differ. They are the presets' aliases,
with ``_v2code`` after the preset's name.
"""

from dataclasses import replace

from frameworks.config.experiment import ExperimentSpec
from frameworks.config.presets.v1 import (
    REST,
    RTDETR_R18VD,
    RTDETR_R34VD,
    RTDETR_R50VD,
    RTDETR_R50VD_M,
    RTDETR_R101VD,
)
from frameworks.config.presets.v2 import RTDETRV2_R101VD
from frameworks.config.training import ParameterGroup

SUFFIX = "_v2code"

UNDECAYED = ParameterGroup(r"^(?=.*(?:encoder|decoder))(?=.*(?:norm|bn|bias)).*$", lr=1e-4, weight_decay=0.0)


def _backbone(pattern: str, weight_decay: float) -> ParameterGroup:
    return ParameterGroup(rf"^(?=.*backbone){pattern}.*$", lr=1e-5, weight_decay=weight_decay)


_GROUPS = {
    RTDETR_R18VD: RTDETR_R34VD.recipe.groups,
    RTDETR_R34VD: RTDETR_R34VD.recipe.groups,
    RTDETR_R50VD_M: (_backbone("(?!.*norm|bn)", 1e-4), UNDECAYED, REST),
    # The second group is empty: every norm of this backbone is frozen.
    RTDETR_R50VD: (_backbone("(?!.*(?:norm|bn))", 1e-4), _backbone("(?=.*(?:norm|bn))", 0.0), UNDECAYED, REST),
    RTDETR_R101VD: RTDETRV2_R101VD.recipe.groups,
}


def _alias(spec: ExperimentSpec, groups: tuple[ParameterGroup, ...]) -> ExperimentSpec:
    return replace(spec, name=f"{spec.name}{SUFFIX}", recipe=replace(spec.recipe, groups=groups, warmup_steps=2000))


ALIASES = {f"{spec.name}{SUFFIX}": _alias(spec, groups) for spec, groups in _GROUPS.items()}
