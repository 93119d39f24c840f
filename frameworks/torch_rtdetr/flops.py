"""Floating-point operations of the PyTorch twin, counted on PyTorch's meta device, where tensors are shapes only.

Counted are convolutions and matrix products, attention's included, at two operations for a multiply-accumulate.
Norms, activations and sampling are not. The model runs in eval form, so layers after ``eval_idx`` cost nothing.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from frameworks.config import ModelSpec
from frameworks.torch_rtdetr.deploy import deploy
from frameworks.torch_rtdetr.model import RTDETR


@cache
def module_flops(
    spec: ModelSpec, size_hw: tuple[int, int] = (640, 640), *, deployed: bool = False
) -> Mapping[str, int]:
    """Operations for one image of ``size_hw`` pixels by canonical module path; ``""`` is the whole model.

    ``deployed`` fuses the model before. About half a second, kept for the next call.
    """
    counter = FlopCounterMode(display=False)
    # One backend, so that attention is its two matrix products whatever this machine would choose.
    with torch.device("meta"), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model = RTDETR(spec).eval()
        if deployed:
            deploy(model)
        with counter:
            model(torch.empty(1, 3, *size_hw))
    root = type(model).__name__
    totals = {path: sum(found.values()) for path, found in counter.get_flop_counts().items() if path != "Global"}
    return MappingProxyType({path.removeprefix(root).removeprefix("."): n for path, n in totals.items()})
