"""Deploy form: folds every norm into the convolution before it and every RepVGG block into one convolution.

RT-DETR (arXiv 2304.08069) 4.2; RepVGG (arXiv 2101.03697) 3.3. For inference only: a fused model cannot be trained,
and its parameters no longer have the canonical names.
"""

from itertools import pairwise

import jittor as jt
import numpy as np
from jittor import nn

from frameworks.jittor_rtdetr.encoder import RepVggBlock
from frameworks.jittor_rtdetr.layers import BatchNorm2d, FrozenBatchNorm2d
from frameworks.jittor_rtdetr.model import RTDETR


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

    On the host: kernels that run once in an evaluation would take seconds to compile.

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
        variance_C = norm.running_var.numpy()
        scale_C = norm.weight.numpy() / np.sqrt(variance_C + variance_C.dtype.type(norm.eps))
        shift_C = norm.bias.numpy() - norm.running_mean.numpy() * scale_C
        bias_C = shift_C if conv.bias is None else conv.bias.numpy() * scale_C + shift_C
        conv.weight = jt.array(conv.weight.numpy() * scale_C[:, None, None, None]).stop_grad()
        conv.bias = jt.array(bias_C).stop_grad()
        setattr(module, name, nn.Identity())


def merge_branches(block: RepVggBlock) -> None:
    """Merge both branches into one 3x3 convolution: a 1x1 kernel is a 3x3 kernel with zeros around it."""
    if block.conv2 is None:
        return
    conv3, conv1 = block.conv1.conv, block.conv2.conv
    weight_OI33, weight_OI11 = conv3.weight.numpy().copy(), conv1.weight.numpy()
    weight_OI33[:, :, 1, 1] += weight_OI11[:, :, 0, 0]
    conv3.weight = jt.array(weight_OI33).stop_grad()
    conv3.bias = jt.array(conv3.bias.numpy() + conv1.bias.numpy()).stop_grad()
    block.conv2 = None
