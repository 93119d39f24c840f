"""Deploy form: folds every norm into the convolution before it and every RepVGG block into one convolution.

RT-DETR (arXiv 2304.08069) 4.2; RepVGG (arXiv 2101.03697) 3.3. For inference only: a fused model cannot be trained,
and its parameters no longer have the canonical names.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from frameworks.torch_rtdetr.encoder import RepVggBlock
from frameworks.torch_rtdetr.layers import BatchNorm2d, FrozenBatchNorm2d
from frameworks.torch_rtdetr.model import RTDETR


@torch.no_grad()
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
        assert norm.running_mean is not None and norm.running_var is not None
        scale_C = norm.weight / (norm.running_var + norm.eps).sqrt()
        shift_C = norm.bias - norm.running_mean * scale_C
        conv.weight.copy_(conv.weight * scale_C.view(-1, 1, 1, 1))
        conv.bias = nn.Parameter(shift_C if conv.bias is None else conv.bias * scale_C + shift_C)
        setattr(module, name, nn.Identity())


def merge_branches(block: RepVggBlock) -> None:
    """Merge both branches into one 3x3 convolution: a 1x1 kernel is a 3x3 kernel with zeros around it."""
    if block.conv2 is None:
        return
    conv3, conv1 = block.conv1.conv, block.conv2.conv
    assert conv3.bias is not None and conv1.bias is not None  # their norms are folded already
    conv3.weight.add_(F.pad(conv1.weight, (1, 1, 1, 1)))
    conv3.bias.add_(conv1.bias)
    block.conv2 = None
