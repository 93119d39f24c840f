"""Multi-head self-attention and multi-scale deformable attention.

Shape suffixes: B batch, Q queries, S keys, D model width, H heads, L levels, P points, N = sum of h*w over
the levels.
"""

import math

import jittor as jt
import numpy as np
from jittor import Var, nn

from frameworks.jittor_rtdetr.operators import batched_matmul, constant, softmax


class MultiheadAttention(nn.Module):
    """Attention with the packed parameters of ``torch.nn.MultiheadAttention``, batch first."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = jt.empty((3 * dim, dim))  # query, key, value stacked
        self.in_proj_bias = jt.empty((3 * dim,))
        self.out_proj = nn.Linear(dim, dim)

    def execute(self, query_BQD: Var, key_BSD: Var, value_BSD: Var, blocked_QS: Var | None = None) -> Var:
        """``blocked_QS``: bool, True where a query must not see a key. Returns [B, Q, D]."""
        dim = query_BQD.shape[-1]
        weights = [self.in_proj_weight[i * dim : (i + 1) * dim] for i in range(3)]
        biases = [self.in_proj_bias[i * dim : (i + 1) * dim] for i in range(3)]
        inputs = (query_BQD, key_BSD, value_BSD)
        query, key, value = (
            self._split_heads(nn.linear(x, w, b)) for x, w, b in zip(inputs, weights, biases, strict=True)
        )
        scale = constant(1 / math.sqrt(dim // self.heads), query_BQD)
        scores_BHQS = batched_matmul(query * scale, key.transpose(0, 1, 3, 2))
        if blocked_QS is not None:
            mask_QS = np.where(blocked_QS.numpy(), -np.inf, 0.0).astype(str(query_BQD.dtype))
            scores_BHQS = scores_BHQS + jt.array(mask_QS).stop_grad()
        mixed_BHQd = batched_matmul(softmax(scores_BHQS), value)
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
        samples = (batch, queries, self.heads, self.levels, self.points, 2)
        offsets = self.sampling_offsets(query_BQD).reshape(samples)
        scores = self.attention_weights(query_BQD).reshape((batch, queries, self.heads, -1))
        weights_BQHK = softmax(scores)  # jointly over levels and points, K = L * P
        box = reference_BQ4.reshape((batch, queries, 1, 1, 1, 4))
        locations_BQHLP2 = box[..., :2] + offsets / self.points * box[..., 2:] * 0.5
        sampled_BQHKd = sample_levels(value_BNHd, locations_BQHLP2, spatial_shapes)
        mixed_BQHd = (sampled_BQHKd * weights_BQHK.unsqueeze(-1)).sum(3)
        return self.output_proj(mixed_BQHd.reshape((batch, queries, dim)))


def sample_levels(value_BNHd: Var, locations_BQHLP2: Var, spatial_shapes: list[tuple[int, int]]) -> Var:
    """Bilinear samples with zeros outside, pixel centres at half-integers. Returns [B, Q, H, L * P, d].

    Written out because ``jt.nn.grid_sample`` computes corners and weights again for every channel; with
    channels last they are computed once a point. The coordinates follow grid_sample's own formula.
    """
    sampled, start = [], 0
    for level, (h, w) in enumerate(spatial_shapes):
        value_BnHd = value_BNHd[:, start : start + h * w]
        grid_BQHP2 = 2 * locations_BQHLP2[:, :, :, level] - 1
        x_BQHP = ((grid_BQHP2[..., 0] + 1) * w - 1) / 2
        y_BQHP = ((grid_BQHP2[..., 1] + 1) * h - 1) / 2
        sampled.append(_bilinear(value_BnHd, x_BQHP, y_BQHP, h, w))
        start += h * w
    return jt.concat(sampled, dim=3)


def _bilinear(value_BnHd: Var, x_BQHP: Var, y_BQHP: Var, h: int, w: int) -> Var:
    """[B, Q, H, P, d]; coordinates in pixels of the (h, w) map that ``n`` flattens."""
    batch, _, heads, width = value_BnHd.shape
    _, queries, _, points = x_BQHP.shape
    left_BQHP, top_BQHP = jt.floor(x_BQHP.detach()), jt.floor(y_BQHP.detach())
    share_x_BQHP, share_y_BQHP = x_BQHP - left_BQHP, y_BQHP - top_BQHP
    total = None
    for down in (0, 1):
        for right in (0, 1):
            column_BQHP, row_BQHP = left_BQHP + right, top_BQHP + down
            inside = (column_BQHP >= 0) & (column_BQHP < w) & (row_BQHP >= 0) & (row_BQHP < h)
            flat_BQHP = row_BQHP * w + column_BQHP
            # An index of -1 is out of range, and reindex answers zero there.
            index_BQHP = jt.ternary(inside, flat_BQHP, jt.zeros_like(flat_BQHP) - 1).int32()
            shape = [batch, queries, heads, points, width]
            corner = value_BnHd.reindex(shape, ["i0", "@e0(i0,i1,i2,i3)", "i2", "i4"], extras=[index_BQHP])
            weight_x_BQHP = share_x_BQHP if right else 1 - share_x_BQHP
            weight_y_BQHP = share_y_BQHP if down else 1 - share_y_BQHP
            part = corner * (weight_x_BQHP * weight_y_BQHP).unsqueeze(-1)
            total = part if total is None else total + part
    return total
