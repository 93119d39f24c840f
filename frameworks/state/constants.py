"""Names and shapes of the entries of the official RT-DETRv2 ``state_dict`` that are computed, not learned.

RT-DETR does not store them, so ``frameworks.state.parameters`` does not list them. A checkpoint of the official
RT-DETRv2 holds them for one input size.
"""

from frameworks.config import ModelSpec
from frameworks.state.named_shapes import Shape


def constant_shapes(spec: ModelSpec, size_hw: tuple[int, int]) -> dict[str, Shape]:
    """Names and shapes of the computed entries for images of ``size_hw`` pixels; version v1 has none.

    Anchors [1, N, 4] and their validity [1, N, 1] for the N tokens of all levels, and for each decoder layer the
    factor of every sampling point, [sum of points over the levels].
    """
    if spec.version == "v1":
        return {}
    height, width = size_hw
    tokens = sum((height // stride) * (width // stride) for stride in spec.backbone.out_strides)
    points = sum(spec.decoder.num_points)
    layers = range(spec.decoder.num_layers)
    return {
        "decoder.anchors": (1, tokens, 4),
        "decoder.valid_mask": (1, tokens, 1),
        **{f"decoder.decoder.layers.{i}.cross_attn.num_points_scale": (points,) for i in layers},
    }
