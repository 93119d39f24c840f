"""Multi-head self-attention and multi-scale deformable attention.

Shape suffixes: B batch, Q queries, S keys, D model width, H heads, L levels, P points, N = sum of h*w over
the levels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MultiheadAttention(nn.Module):
    """Attention with the packed parameters of ``torch.nn.MultiheadAttention``, batch first."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))  # query, key, value stacked
        self.in_proj_bias = nn.Parameter(torch.empty(3 * dim))
        self.out_proj = nn.Linear(dim, dim)

    def forward(
        self, query_BQD: Tensor, key_BSD: Tensor, value_BSD: Tensor, blocked_QS: Tensor | None = None
    ) -> Tensor:
        """``blocked_QS``: bool, True where a query must not see a key. Returns [B, Q, D]."""
        weights = self.in_proj_weight.chunk(3)
        biases = self.in_proj_bias.chunk(3)
        inputs = (query_BQD, key_BSD, value_BSD)
        query, key, value = (
            F.linear(x, w, b).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, H, Q or S, D/H]
            for x, w, b in zip(inputs, weights, biases, strict=True)
        )
        visible_QS = None if blocked_QS is None else ~blocked_QS
        mixed_BHQd = F.scaled_dot_product_attention(query, key, value, attn_mask=visible_QS)
        return self.out_proj(mixed_BHQd.transpose(1, 2).flatten(2))


class MultiscaleDeformableAttention(nn.Module):
    """Each query samples ``points`` locations per head and level around its reference box (RT-DETR v1 form)."""

    def __init__(self, dim: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)

    def forward(
        self,
        query_BQD: Tensor,
        reference_BQ4: Tensor,
        memory_BND: Tensor,
        spatial_shapes: list[tuple[int, int]],
    ) -> Tensor:
        """``reference_BQ4``: cxcywh in [0, 1]; ``spatial_shapes``: (h, w) per level. Returns [B, Q, D]."""
        batch, queries, _ = query_BQD.shape
        value_BNHd = self.value_proj(memory_BND).unflatten(-1, (self.heads, -1))
        offsets = self.sampling_offsets(query_BQD).view(batch, queries, self.heads, self.levels, self.points, 2)
        scores = self.attention_weights(query_BQD).view(batch, queries, self.heads, -1)
        weights_BQHK = scores.softmax(-1)  # jointly over levels and points, K = L * P
        box = reference_BQ4[:, :, None, None, None, :]
        locations_BQHLP2 = box[..., :2] + offsets / self.points * box[..., 2:] * 0.5
        sampled_BHdQK = sample_levels(value_BNHd, locations_BQHLP2, spatial_shapes)
        mixed_BHdQ = (sampled_BHdQK * weights_BQHK.transpose(1, 2)[:, :, None]).sum(-1)
        return self.output_proj(mixed_BHdQ.flatten(1, 2).transpose(1, 2))


def sample_levels(value_BNHd: Tensor, locations_BQHLP2: Tensor, spatial_shapes: list[tuple[int, int]]) -> Tensor:
    """Bilinear samples with zeros outside, pixel centres at half-integers. Returns [B, H, d, Q, L * P]."""
    batch, _, heads, width = value_BNHd.shape
    grid_BHQLP2 = (2 * locations_BQHLP2 - 1).transpose(1, 2)
    sampled = []
    for level, value in enumerate(value_BNHd.split([h * w for h, w in spatial_shapes], dim=1)):
        h, w = spatial_shapes[level]
        image = value.permute(0, 2, 3, 1).reshape(batch * heads, width, h, w)
        grid = grid_BHQLP2[:, :, :, level].flatten(0, 1)  # [B * H, Q, P, 2]
        sampled.append(F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False))
    return torch.cat(sampled, dim=-1).unflatten(0, (batch, heads))
