"""Multi-head self-attention, and multi-scale deformable attention around reference boxes.

The latter is Deformable DETR's (arXiv 2010.04159, 4.1). RT-DETRv2 (arXiv 2407.17140) adds discrete sampling and
levels with different numbers of points.

Shape suffixes: B batch, Q queries, S keys, D model width, H heads, d = D / H, P points of one level, K points of
all levels, n = h*w of one level, N = sum of n over the levels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frameworks.errors import UserError
from frameworks.torch_rtdetr import deformable


class MultiheadAttention(nn.Module):
    """Dot-product attention with the packed parameters of ``torch.nn.MultiheadAttention``, batch first."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))  # query, key, value stacked
        self.in_proj_bias = nn.Parameter(torch.empty(3 * dim))
        self.out_proj = nn.Linear(dim, dim)

    def forward(
        self, query_BQD: Tensor, key_BSD: Tensor, value_BSD: Tensor, blocked_QS: Tensor | None = None
    ) -> Tensor:
        """Queries, keys, values -> [B, Q, D]; ``blocked_QS``: bool, True where a query must not see a key."""
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
    """Each query and head samples ``points[level]`` locations of every level around the query's reference box.

    ``method``: "default" samples bilinearly, "discrete" takes the nearest pixel (RT-DETRv2 only).
    """

    def __init__(self, dim: int, heads: int, points: tuple[int, ...], method: str) -> None:
        super().__init__()
        self.heads, self.points, self.method = heads, points, method
        self.sampling_offsets = nn.Linear(dim, heads * sum(points) * 2)
        self.attention_weights = nn.Linear(dim, heads * sum(points))
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        if method == "discrete":  # a nearest pixel has no gradient towards its location
            self.sampling_offsets.requires_grad_(False)

    def forward(
        self,
        query_BQD: Tensor,
        reference_BQ4: Tensor,
        memory_BND: Tensor,
        spatial_shapes: list[tuple[int, int]],
    ) -> Tensor:
        """Queries -> [B, Q, D]; ``reference_BQ4``: cxcywh in [0, 1]; ``spatial_shapes``: (h, w) per level."""
        batch, queries, _ = query_BQD.shape
        value_BNHd = self.value_proj(memory_BND).unflatten(-1, (self.heads, -1))
        offsets_BQHK2 = self.sampling_offsets(query_BQD).view(batch, queries, self.heads, sum(self.points), 2)
        scores_BQHK = self.attention_weights(query_BQD).view(batch, queries, self.heads, -1)
        weights_BQHK = scores_BQHK.softmax(-1)  # jointly over levels and points
        share = [1 / count for count in self.points for _ in range(count)]
        share_K1 = torch.tensor(share, dtype=query_BQD.dtype, device=query_BQD.device)[:, None]
        box = reference_BQ4[:, :, None, None, :]
        locations_BQHK2 = box[..., :2] + offsets_BQHK2 * share_K1 * box[..., 2:] * 0.5
        mixed_BQHd = mix_levels(value_BNHd, locations_BQHK2, weights_BQHK, spatial_shapes, self.points, self.method)
        return self.output_proj(mixed_BQHd.flatten(2))


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
        UserError: a map that discrete sampling cannot read.
    """
    if method == "discrete":
        for h, w in spatial_shapes:
            require_readable(h, w)
    if value_BNHd.dtype == torch.bfloat16:  # under autocast: sampling takes all in the locations' dtype
        value_BNHd, weights_BQHK = value_BNHd.to(locations_BQHK2.dtype), weights_BQHK.to(locations_BQHK2.dtype)
    if deformable.available(value_BNHd):
        return deformable.mix_levels(value_BNHd, locations_BQHK2, weights_BQHK, spatial_shapes, points, method)
    sampled_BQHKd = sample_levels(value_BNHd, locations_BQHK2, spatial_shapes, points, method)
    sampled_BHdQK = sampled_BQHKd.permute(0, 2, 4, 1, 3)  # as it lies in memory: a sum over neighbours
    mixed_BHdQ = (sampled_BHdQK * weights_BQHK.transpose(1, 2)[:, :, None]).sum(-1)
    return mixed_BHdQ.permute(0, 3, 1, 2)


def sample_levels(
    value_BNHd: Tensor,
    locations_BQHK2: Tensor,
    spatial_shapes: list[tuple[int, int]],
    points: tuple[int, ...],
    method: str,
) -> Tensor:
    """Samples of every level at its own locations (x, y in [0, 1]). Returns [B, Q, H, K, d]."""
    values = value_BNHd.split([h * w for h, w in spatial_shapes], dim=1)
    locations = locations_BQHK2.split(list(points), dim=3)
    sample = nearest_pixels if method == "discrete" else bilinear
    sampled = [sample(v, at, hw) for v, at, hw in zip(values, locations, spatial_shapes, strict=True)]
    return torch.cat(sampled, dim=-1).permute(0, 3, 1, 4, 2)


def bilinear(value_BnHd: Tensor, locations_BQHP2: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Bilinear samples with zeros outside, pixel centres at half-integers. Returns [B, H, d, Q, P]."""
    image = value_BnHd.permute(0, 2, 3, 1).flatten(0, 1).unflatten(-1, size_hw)  # [B * H, d, h, w]
    grid = (2 * locations_BQHP2 - 1).transpose(1, 2).flatten(0, 1)  # [B * H, Q, P, 2]
    sampled = F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled.unflatten(0, (value_BnHd.shape[0], -1))


def nearest_pixels(value_BnHd: Tensor, locations_BQHP2: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """The pixel at each location by RT-DETRv2's discrete sampling. Returns [B, H, d, Q, P].

    As in the official code, x is clamped to the map's height like y: on maps wider than high the right part is
    never read, and maps higher than wide cannot be read at all (docs/pitfalls.md D.6).

    Raises:
        UserError: the map is higher than wide.
    """
    h, w = size_hw
    require_readable(h, w)
    size_2 = torch.tensor([w, h], dtype=locations_BQHP2.dtype, device=locations_BQHP2.device)
    pixel_BQHP2 = (locations_BQHP2.detach() * size_2 + 0.5).long().clamp(0, h - 1)  # long() cuts towards zero
    flat_BQHP = pixel_BQHP2[..., 1] * w + pixel_BQHP2[..., 0]
    batch, queries, heads, count = flat_BQHP.shape
    index_BHK = flat_BQHP.transpose(1, 2).reshape(batch, heads, 1, queries * count)
    image_BHdn = value_BnHd.permute(0, 2, 3, 1)
    index_BHdK = index_BHK.expand(-1, -1, image_BHdn.shape[2], -1)
    return image_BHdn.gather(3, index_BHdK).unflatten(-1, (queries, count))


def require_readable(h: int, w: int) -> None:
    """Raise UserError unless discrete sampling can read a map of this size."""
    if h > w:
        raise UserError(
            f"discrete sampling got a feature map of {h} x {w} (height x width); the official code reads outside "
            "maps that are higher than wide: use square or wide images, or cross_attn_method 'default'"
        )
