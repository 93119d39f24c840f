"""Multi-head self-attention and multi-scale deformable attention.

Shape suffixes: B batch, Q queries, S keys, D model width, H heads, L levels, P points, N = sum of h*w over
the levels.
"""

import math

import jittor as jt
import numpy as np
from jittor import Var, nn

from frameworks.jittor_rtdetr.layers import constant


class MultiheadAttention(nn.Module):
    """Attention with the packed parameters of ``torch.nn.MultiheadAttention``, batch first."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = jt.empty((3 * dim, dim))  # query, key, value stacked
        self.in_proj_bias = jt.empty((3 * dim,))
        self.out_proj = nn.Linear(dim, dim)

    def execute(self, query_BQD: Var, key_BSD: Var, value_BSD: Var, blocked_QS: Var | None) -> Var:
        """``blocked_QS``: bool, True where a query must not see a key. Returns [B, Q, D]."""
        dim = query_BQD.shape[-1]
        inputs = (query_BQD, key_BSD, value_BSD)
        query, key, value = (
            self._split_heads(
                nn.linear(x, self.in_proj_weight[i * dim : (i + 1) * dim], self.in_proj_bias[i * dim : (i + 1) * dim])
            )
            for i, x in enumerate(inputs)
        )
        scale = constant(1 / math.sqrt(dim // self.heads), query_BQD)
        scores_BHQS = jt.matmul(query * scale, key.transpose(0, 1, 3, 2))
        if blocked_QS is not None:
            mask_QS = np.where(blocked_QS.numpy(), -np.inf, 0.0).astype(str(query_BQD.dtype))
            scores_BHQS = scores_BHQS + jt.array(mask_QS).stop_grad()
        mixed_BHQd = jt.matmul(nn.softmax(scores_BHQS, dim=-1), value)
        return self.out_proj(mixed_BHQd.transpose(0, 2, 1, 3).reshape(query_BQD.shape))

    def _split_heads(self, x_BSD: Var) -> Var:
        batch, length, dim = x_BSD.shape
        return x_BSD.reshape((batch, length, self.heads, dim // self.heads)).transpose(0, 2, 1, 3)


class MultiscaleDeformableAttention(nn.Module):
    """Each query samples ``points`` locations per head and level around its reference box (RT-DETR v1 form)."""

    def __init__(self, dim: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)

    def execute(
        self,
        query_BQD: Var,
        reference_BQ4: Var,
        memory_BND: Var,
        spatial_shapes: list[tuple[int, int]],
    ) -> Var:
        """``reference_BQ4``: cxcywh in [0, 1]; ``spatial_shapes``: (h, w) per level. Returns [B, Q, D]."""
        batch, queries, dim = query_BQD.shape
        value_BND = self.value_proj(memory_BND)
        value_BNHd = value_BND.reshape((batch, value_BND.shape[1], self.heads, dim // self.heads))
        offsets = self.sampling_offsets(query_BQD).reshape((batch, queries, self.heads, self.levels, self.points, 2))
        scores = self.attention_weights(query_BQD).reshape((batch, queries, self.heads, -1))
        weights_BQHK = nn.softmax(scores, dim=-1)  # jointly over levels and points, K = L * P
        box = reference_BQ4.reshape((batch, queries, 1, 1, 1, 4))
        locations_BQHLP2 = box[..., :2] + offsets / self.points * box[..., 2:] * 0.5
        sampled_BHdQK = sample_levels(value_BNHd, locations_BQHLP2, spatial_shapes)
        mixed_BHdQ = (sampled_BHdQK * weights_BQHK.transpose(0, 2, 1, 3).unsqueeze(2)).sum(-1)
        return self.output_proj(mixed_BHdQ.reshape((batch, dim, queries)).transpose(0, 2, 1))


def sample_levels(value_BNHd: Var, locations_BQHLP2: Var, spatial_shapes: list[tuple[int, int]]) -> Var:
    """Bilinear samples with zeros outside, pixel centres at half-integers. Returns [B, H, d, Q, L * P]."""
    batch, _, heads, width = value_BNHd.shape
    _, queries, _, _, points, _ = locations_BQHLP2.shape
    grid_BHQLP2 = (2 * locations_BQHLP2 - 1).transpose(0, 2, 1, 3, 4, 5)
    sampled, start = [], 0
    for level, (h, w) in enumerate(spatial_shapes):
        value = value_BNHd[:, start : start + h * w]
        image = value.transpose(0, 2, 3, 1).reshape((batch * heads, width, h, w))
        grid = grid_BHQLP2[:, :, :, level].reshape((batch * heads, queries, points, 2))
        sampled.append(nn.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False))
        start += h * w
    return jt.concat(sampled, dim=-1).reshape((batch, heads, width, queries, -1))
