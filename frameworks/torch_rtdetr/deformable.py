"""The C++ form of multi-scale deformable attention's sampling, for tensors on CPU; attention.py has the formula.

Shape suffixes as there: B batch, Q queries, H heads, d channels of a head, K points and N pixels of all levels.
"""

import ctypes
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from frameworks.native import level_table, library
from frameworks.shared import kernels

SUFFIXES = {torch.float32: "f", torch.float64: "d"}


class _Sizes(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("B", "N", "H", "d", "Q", "K", "L")),
        ("threads", ctypes.c_int),
    )


class _Mix(torch.autograd.Function):
    """The pair of C++ functions."""

    @staticmethod
    def forward(
        ctx: Any, value_BNHd: Tensor, locations_BQHK2: Tensor, weights_BQHK: Tensor, levels_L4: Any
    ) -> Tensor:
        inputs = [x.contiguous() for x in (value_BNHd, locations_BQHK2, weights_BQHK)]
        ctx.save_for_backward(*inputs)
        ctx.levels_L4 = levels_L4
        mixed_BQHd = value_BNHd.new_empty((*weights_BQHK.shape[:3], value_BNHd.shape[-1]))
        _call("mix", levels_L4, *inputs, mixed_BQHd)
        return mixed_BQHd

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BQHd: Tensor) -> tuple[Tensor | None, ...]:
        gradients = [torch.empty_like(x) for x in ctx.saved_tensors]
        _call("mix_gradient", ctx.levels_L4, *ctx.saved_tensors, grad_BQHd.contiguous(), *gradients)
        return *gradients, None


def _call(name: str, levels_L4: np.ndarray, *tensors: Tensor) -> None:
    value_BNHd, _, weights_BQHK = tensors[:3]
    _, queries, heads, points = weights_BQHK.shape
    batch, pixels, _, width = value_BNHd.shape
    sizes = _Sizes(batch, pixels, heads, width, queries, points, len(levels_L4), torch.get_num_threads())
    function = getattr(library.load("deformable_attention"), f"{name}_{SUFFIXES[value_BNHd.dtype]}")
    pointers = [ctypes.c_void_p(address) for address in (levels_L4.ctypes.data, *(x.data_ptr() for x in tensors))]
    function(ctypes.byref(sizes), *pointers)


def available(value_BNHd: Tensor) -> bool:
    """Whether the C++ form is wanted and can take this value."""
    return (
        kernels.fast()
        and value_BNHd.device.type == "cpu"
        and value_BNHd.dtype in SUFFIXES
        and not torch.compiler.is_compiling()
        and library.load("deformable_attention") is not None
    )


def mix_levels(
    value_BNHd: Tensor,
    locations_BQHK2: Tensor,
    weights_BQHK: Tensor,
    spatial_shapes: list[tuple[int, int]],
    points: tuple[int, ...],
    method: str,
) -> Tensor:
    """Samples of every level at its own locations, weighted and summed over all points. Returns [B, Q, H, d].

    Raises:
        ValueError: shapes or dtypes do not fit.
    """
    levels_L4 = level_table(spatial_shapes, points, method, value_BNHd, locations_BQHK2, weights_BQHK)
    if method == "discrete":  # a nearest pixel has no gradient towards its location
        locations_BQHK2 = locations_BQHK2.detach()
    return _Mix.apply(value_BNHd, locations_BQHK2, weights_BQHK, levels_L4)
