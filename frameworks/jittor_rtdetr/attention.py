"""Multi-head self-attention, and multi-scale deformable attention around reference boxes.

The latter is Deformable DETR's (arXiv 2010.04159, 4.1). RT-DETRv2 (arXiv 2407.17140) adds discrete sampling and
levels with different numbers of points.

Shape suffixes: B batch, Q queries, S keys, D model width, H heads, d = D / H, P points of one level, K points of
all levels, n = h*w of one level, N = sum of n over the levels.
"""

import jittor as jt
import numpy as np
from jittor import Var, nn

from frameworks.errors import UserError
from frameworks.jittor_rtdetr import deformable
from frameworks.jittor_rtdetr.layers import Linear
from frameworks.jittor_rtdetr.operators import attention, linear, softmax


class MultiheadAttention(nn.Module):
    """Dot-product attention with the packed parameters of ``torch.nn.MultiheadAttention``, batch first."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = jt.empty((3 * dim, dim))  # query, key, value stacked
        self.in_proj_bias = jt.empty((3 * dim,))
        self.out_proj = Linear(dim, dim)

    def execute(self, query_BQD: Var, key_BSD: Var, value_BSD: Var, blocked_QS: Var | None = None) -> Var:
        """Queries, keys, values -> [B, Q, D]; ``blocked_QS``: bool, True where a query must not see a key."""
        dim = query_BQD.shape[-1]
        weights = [self.in_proj_weight[i * dim : (i + 1) * dim] for i in range(3)]
        biases = [self.in_proj_bias[i * dim : (i + 1) * dim] for i in range(3)]
        inputs = (query_BQD, key_BSD, value_BSD)
        query_BQD, key_BSD, value_BSD = (linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True))
        return self.out_proj(attention(query_BQD, key_BSD, value_BSD, blocked_QS, self.heads))


class MultiscaleDeformableAttention(nn.Module):
    """Each query and head samples ``points[level]`` locations of every level around the query's reference box.

    ``method``: "default" samples bilinearly, "discrete" takes the nearest pixel (RT-DETRv2 only).
    """

    def __init__(self, dim: int, heads: int, points: tuple[int, ...], method: str) -> None:
        super().__init__()
        self.heads, self.points, self.method = heads, points, method
        self.sampling_offsets = Linear(dim, heads * sum(points) * 2)
        self.attention_weights = Linear(dim, heads * sum(points))
        self.value_proj = Linear(dim, dim)
        self.output_proj = Linear(dim, dim)
        if method == "discrete":  # a nearest pixel has no gradient towards its location
            self.sampling_offsets.weight.stop_grad()
            self.sampling_offsets.bias.stop_grad()

    def execute(
        self,
        query_BQD: Var,
        reference_BQ4: Var,
        memory_BND: Var,
        spatial_shapes: list[tuple[int, int]],
    ) -> Var:
        """Queries -> [B, Q, D]; ``reference_BQ4``: cxcywh in [0, 1]; ``spatial_shapes``: (h, w) per level."""
        batch, queries, dim = query_BQD.shape
        value_BND = self.value_proj(memory_BND)
        value_BNHd = value_BND.reshape((batch, value_BND.shape[1], self.heads, dim // self.heads))
        offsets_BQHK2 = self.sampling_offsets(query_BQD).reshape((batch, queries, self.heads, sum(self.points), 2))
        scores_BQHK = self.attention_weights(query_BQD).reshape((batch, queries, self.heads, -1))
        weights_BQHK = softmax(scores_BQHK)  # jointly over levels and points
        share = [1 / count for count in self.points for _ in range(count)]
        share_K1 = jt.array(np.array(share, str(query_BQD.dtype))[:, None]).stop_grad()
        box = reference_BQ4.reshape((batch, queries, 1, 1, 4))
        locations_BQHK2 = box[..., :2] + offsets_BQHK2 * share_K1 * box[..., 2:] * 0.5
        mixed_BQHd = mix_levels(value_BNHd, locations_BQHK2, weights_BQHK, spatial_shapes, self.points, self.method)
        return self.output_proj(mixed_BQHd.reshape((batch, queries, dim)))


def mix_levels(
    value_BNHd: Var,
    locations_BQHK2: Var,
    weights_BQHK: Var,
    spatial_shapes: list[tuple[int, int]],
    points: tuple[int, ...],
    method: str,
) -> Var:
    """Samples of every level at its own locations, weighted and summed over all points. Returns [B, Q, H, d].

    Raises:
        UserError: a map that discrete sampling cannot read.
    """
    if method == "discrete":
        for h, w in spatial_shapes:
            require_readable(h, w)
    if deformable.available(value_BNHd):
        return deformable.mix_levels(value_BNHd, locations_BQHK2, weights_BQHK, spatial_shapes, points, method)
    sampled_BQHKd = sample_levels(value_BNHd, locations_BQHK2, spatial_shapes, points, method)
    return (sampled_BQHKd * weights_BQHK.unsqueeze(-1)).sum(3)


def sample_levels(
    value_BNHd: Var,
    locations_BQHK2: Var,
    spatial_shapes: list[tuple[int, int]],
    points: tuple[int, ...],
    method: str,
) -> Var:
    """Samples of every level at its own locations (x, y in [0, 1]). Returns [B, Q, H, K, d]."""
    sample = nearest_pixels if method == "discrete" else bilinear
    sampled, pixel, point = [], 0, 0
    for (h, w), count in zip(spatial_shapes, points, strict=True):
        value_BnHd = value_BNHd[:, pixel : pixel + h * w]
        sampled.append(sample(value_BnHd, locations_BQHK2[:, :, :, point : point + count], (h, w)))
        pixel, point = pixel + h * w, point + count
    return jt.concat(sampled, dim=3)


def bilinear(value_BnHd: Var, locations_BQHP2: Var, size_hw: tuple[int, int]) -> Var:
    """Bilinear samples with zeros outside, pixel centres at half-integers. Returns [B, Q, H, P, d].

    Written out because ``jt.nn.grid_sample`` computes corners and weights again for every channel; with
    channels last they are computed once per point. The coordinates follow the formula of grid_sample.
    """
    h, w = size_hw
    grid_BQHP2 = 2 * locations_BQHP2 - 1
    x_BQHP = ((grid_BQHP2[..., 0] + 1) * w - 1) / 2
    y_BQHP = ((grid_BQHP2[..., 1] + 1) * h - 1) / 2
    left_BQHP, top_BQHP = jt.floor(x_BQHP.detach()), jt.floor(y_BQHP.detach())
    share_x_BQHP, share_y_BQHP = x_BQHP - left_BQHP, y_BQHP - top_BQHP
    total = None
    for down in (0, 1):
        for right in (0, 1):
            column_BQHP, row_BQHP = left_BQHP + right, top_BQHP + down
            inside = (column_BQHP >= 0) & (column_BQHP < w) & (row_BQHP >= 0) & (row_BQHP < h)
            flat_BQHP = row_BQHP * w + column_BQHP
            # An index of -1 is out of range, where reindex gives zero.
            index_BQHP = jt.ternary(inside, flat_BQHP, jt.zeros_like(flat_BQHP) - 1)
            weight_x_BQHP = share_x_BQHP if right else 1 - share_x_BQHP
            weight_y_BQHP = share_y_BQHP if down else 1 - share_y_BQHP
            part = _take_pixels(value_BnHd, index_BQHP) * (weight_x_BQHP * weight_y_BQHP).unsqueeze(-1)
            total = part if total is None else total + part
    return total


def nearest_pixels(value_BnHd: Var, locations_BQHP2: Var, size_hw: tuple[int, int]) -> Var:
    """The pixel at each location by RT-DETRv2's discrete sampling. Returns [B, Q, H, P, d].

    As in the official code, x is clamped to the map's height like y: on maps wider than high the right part is
    never read, and maps higher than wide cannot be read at all (docs/pitfalls.md D.6).

    Raises:
        UserError: the map is higher than wide.
    """
    h, w = size_hw
    require_readable(h, w)
    at_BQHP2 = locations_BQHP2.detach()
    # int32() cuts towards zero.
    column_BQHP = jt.clamp((at_BQHP2[..., 0] * w + 0.5).int32(), 0, h - 1)
    row_BQHP = jt.clamp((at_BQHP2[..., 1] * h + 0.5).int32(), 0, h - 1)
    return _take_pixels(value_BnHd, row_BQHP * w + column_BQHP)


def require_readable(h: int, w: int) -> None:
    """Raise UserError unless discrete sampling can read a map of this size."""
    if h > w:
        raise UserError(
            f"discrete sampling got a feature map of {h} x {w} (height x width); the official code reads outside "
            "maps that are higher than wide: use square or wide images, or cross_attn_method 'default'"
        )


def _take_pixels(value_BnHd: Var, index_BQHP: Var) -> Var:
    """[B, Q, H, P, d]: zero where the index is out of range."""
    shape = [*index_BQHP.shape, value_BnHd.shape[-1]]
    return value_BnHd.reindex(shape, ["i0", "@e0(i0,i1,i2,i3)", "i2", "i4"], extras=[index_BQHP.int32()])
