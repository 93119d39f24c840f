"""Deploy form: folds every norm into the convolution before it and every RepVGG block into one convolution.

RT-DETR (arXiv 2304.08069) 4.2; RepVGG (arXiv 2101.03697) 3.3. For inference only: a fused model cannot be trained,
and its parameters no longer have the canonical names.
"""

from itertools import pairwise

import jittor as jt
from jittor import nn

from frameworks.jittor_rtdetr.encoder import RepVggBlock
from frameworks.jittor_rtdetr.layers import BatchNorm2d, FrozenBatchNorm2d
from frameworks.jittor_rtdetr.model import RTDETR
from frameworks.jittor_rtdetr.operators import constant


def deploy(model: RTDETR) -> None:
    """Fuse in place; in evaluation mode the model computes the same as before, to rounding.

    Raises:
        ValueError: a norm has no convolution before it to be folded into.
    """
    for module in list(model.modules()):
        fold_norms(module)
    for module in model.modules():
        if isinstance(module, RepVggBlock):
            merge_branches(module)


def fold_norms(module: nn.Module) -> None:
    """Fold the norms among a module's children into the convolutions right before them.

    Raises:
        ValueError: the child before a norm is no convolution.
    """
    children = [("", nn.Identity()), *module.named_children()]
    for (_, before), (name, norm) in pairwise(children):
        if not isinstance(norm, BatchNorm2d | FrozenBatchNorm2d):
            continue
        conv = before[-1] if isinstance(before, nn.Sequential) else before  # or [padding, convolution]
        if not isinstance(conv, nn.Conv2d):
            raise ValueError(f"the norm {name!r} of {type(module).__name__} follows no convolution")
        scale_C = norm.weight / jt.sqrt(norm.running_var + constant(norm.eps, norm.running_var))
        shift_C = norm.bias - norm.running_mean * scale_C
        conv.weight = (conv.weight * scale_C.reshape((-1, 1, 1, 1))).stop_grad()
        conv.bias = (shift_C if conv.bias is None else conv.bias * scale_C + shift_C).stop_grad()
        setattr(module, name, nn.Identity())


def merge_branches(block: RepVggBlock) -> None:
    """Merge both branches into one 3x3 convolution: a 1x1 kernel is a 3x3 kernel with zeros around it."""
    if block.conv2 is None:
        return
    conv3, conv1 = block.conv1.conv, block.conv2.conv
    conv3.weight = (conv3.weight + nn.pad(conv1.weight, (1, 1, 1, 1))).stop_grad()
    conv3.bias = (conv3.bias + conv1.bias).stop_grad()
    block.conv2 = None
