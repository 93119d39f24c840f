"""Backbones: images [B, 3, H, W] -> feature maps [B, C_i, H / s, W / s], usually of the strides s = 8, 16, 32."""

from torch import nn

from frameworks.config import BackboneSpec, DLASpec, HGNetv2Spec, PResNetSpec, RegNetSpec
from frameworks.torch_rtdetr.backbones.dla import DLA
from frameworks.torch_rtdetr.backbones.hgnetv2 import HGNetv2
from frameworks.torch_rtdetr.backbones.presnet import PResNet
from frameworks.torch_rtdetr.backbones.regnet import RegNet

BACKBONES = {PResNetSpec: PResNet, HGNetv2Spec: HGNetv2, DLASpec: DLA, RegNetSpec: RegNet}


def make_backbone(spec: BackboneSpec) -> nn.Module:
    """The backbone of a spec, by the type of the spec."""
    return BACKBONES[type(spec)](spec)
