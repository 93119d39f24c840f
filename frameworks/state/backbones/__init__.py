"""Facts of the backbone families: names and shapes of the state, stem and stages, what is frozen, labels.

Each family has one module here, which ``FAMILIES`` finds by the type of the spec. All names start with
``backbone.``, as in the official ``state_dict``.
"""

from functools import cache
from typing import Any, Protocol

from frameworks.config.backbones import BackboneSpec, DLASpec, HGNetv2Spec, PResNetSpec, RegNetSpec
from frameworks.state.backbones import dla, hgnetv2, presnet, regnet
from frameworks.state.named_shapes import COUNTER, Named


class Family(Protocol):
    """What the module of a family holds; ``spec`` is the family's own."""

    STEM: tuple[str, ...]  # module paths in the order of the data flow
    STAGES: tuple[str, ...]  # module paths of the 4 stages (strides 4, 8, 16, 32)
    KAIMING_FAN: str  # fan of the Kaiming initialisation of convolutions, "in" or "out"; "": PyTorch's default

    def shapes(self, spec: Any) -> Named:
        """Every entry of the state, with norms that are not frozen."""
        ...

    def depths(self, spec: Any) -> str:
        """Blocks per stage, in a few characters."""
        ...

    def label(self, spec: Any) -> str:
        """The name in papers."""
        ...


FAMILIES: dict[type[BackboneSpec], Family] = {
    PResNetSpec: presnet,
    HGNetv2Spec: hgnetv2,
    DLASpec: dla,
    RegNetSpec: regnet,
}


def family(spec: BackboneSpec) -> Family:
    """The module of the spec's family."""
    return FAMILIES[type(spec)]


def backbone_shapes(spec: BackboneSpec) -> Named:
    """Names and shapes of every entry of the backbone's state; frozen norms have no counter."""
    for name, shape in family(spec).shapes(spec):
        if not (spec.freeze_norm and name.endswith(COUNTER)):
            yield name, shape


def stem_and_stages(spec: BackboneSpec) -> tuple[list[str], list[str]]:
    """Module paths of the stem, in the order of the data flow, and of the 4 stages (strides 4, 8, 16, 32)."""
    return list(family(spec).STEM), list(family(spec).STAGES)


def frozen_modules(spec: BackboneSpec) -> list[str]:
    """Module paths whose parameters ``freeze_at`` keeps constant: the stem and the first stages."""
    stem, stages = stem_and_stages(spec)
    return [*stem, *stages[: spec.freeze_at]] if spec.freeze_at >= 0 else []


@cache
def norm_modules(spec: BackboneSpec) -> frozenset[str]:
    """Module paths of every batch norm: the modules that hold running statistics."""
    leaf = ".running_mean"
    return frozenset(name.removesuffix(leaf) for name, _ in backbone_shapes(spec) if name.endswith(leaf))


def label(spec: BackboneSpec) -> str:
    """The backbone's name in papers, such as ``ResNet-50-vd`` or ``HGNetv2-L``."""
    return family(spec).label(spec)


def summary(spec: BackboneSpec) -> str:
    """Kind and depths of the backbone, such as ``presnet basic 2-2-2-2``."""
    return f"{spec.kind} {family(spec).depths(spec)}"
