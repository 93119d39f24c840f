"""Initial weights as NumPy arrays, drawn once and loaded into every framework.

The distributions are those of the official model without pretrained weights: PyTorch's defaults, and the official
code's own where it has them (docs/pitfalls.md D.7 and D.10).
"""

import math
import re
import zlib

import numpy as np

from frameworks.arrays import Arrays
from frameworks.config import ModelSpec
from frameworks.state.backbones import family
from frameworks.state.parameters import Shape, state_shapes

CLASS_PRIOR = 0.01  # initial probability of every class


def initial_weights(spec: ModelSpec, seed: int) -> Arrays:
    """A float32 array (int64 for counters) for every entry of the state.

    Each name has a random stream of its own, so that another module more or less changes no other weight.
    """
    shapes = state_shapes(spec)
    return {name: _draw(name, shape, shapes, spec, seed) for name, shape in shapes.items()}


def _draw(name: str, shape: Shape, shapes: dict[str, Shape], spec: ModelSpec, seed: int) -> np.ndarray:
    leaf = name.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.zeros((), np.int64)
    stream = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    if leaf == "running_mean":
        value = np.zeros(shape)
    elif leaf == "running_var":
        value = np.ones(shape)
    elif name.endswith("sampling_offsets.bias"):
        value = sampling_offset_bias(spec)
    elif name.endswith("denoising_class_embed.weight"):
        value = stream.standard_normal(shape)
        value[-1] = 0.0  # the padding row
    elif re.search(r"score_head(\.\d+)?\.bias$", name):
        value = np.full(shape, -math.log((1 - CLASS_PRIOR) / CLASS_PRIOR))
    elif leaf in ("weight", "bias") and len(shapes[name.rpartition(".")[0] + ".weight"]) == 1:
        value = np.ones(shape) if leaf == "weight" else np.zeros(shape)  # norms
    elif re.search(_ZERO, name):
        value = np.zeros(shape)
    elif re.search(_XAVIER, name) or (spec.version == "v2" and re.search(_XAVIER_V2, name)):
        value = stream.uniform(-1, 1, shape) * math.sqrt(6.0 / (shape[0] + shape[1]))  # kernels are 1x1 at most
    elif leaf == "weight" and name.startswith("backbone.") and (fan := family(spec.backbone).KAIMING_FAN):
        value = stream.standard_normal(shape) * math.sqrt(2.0 / _fan(shape, fan))  # Kaiming, for ReLU
    else:  # PyTorch's default for Linear and Conv: uniform within 1 / sqrt(fan_in), biases too
        weight = shapes[name if leaf == "weight" else name.rpartition(".")[0] + ".weight"]
        value = stream.uniform(-1, 1, shape) / math.sqrt(np.prod(weight[1:]))
    return np.asarray(value, np.float32)


def _fan(shape: Shape, fan: str) -> int:
    """Inputs of an output (``in``) or outputs of an input (``out``, groups not counted) of a convolution."""
    return math.prod(shape[1:]) if fan == "in" else shape[0] * math.prod(shape[2:])


_ZERO = (
    r"(sampling_offsets|attention_weights)\.weight$|attention_weights\.bias$|in_proj_bias$|out_proj\.bias$"
    r"|(value_proj|output_proj)\.bias$|bbox_head(\.\d+)?\.layers\.2\.(weight|bias)$"
)
_XAVIER = (
    r"in_proj_weight$|(value_proj|output_proj)\.weight$|enc_output\.(0|proj)\.weight$"
    r"|query_pos_head\.layers\.\d\.weight$"
)
_XAVIER_V2 = r"^decoder\.(decoder\.layers\.\d+\.linear[12]|input_proj\.\d+\.conv)\.weight$"


def sampling_offset_bias(spec: ModelSpec) -> np.ndarray:
    """Initial bias [heads * sum(points) * 2]: one direction per head, evenly spaced; point k at distance k + 1."""
    heads = spec.decoder.nhead
    theta_H = np.arange(heads) * (2.0 * math.pi / heads)
    direction_H2 = np.stack([np.cos(theta_H), np.sin(theta_H)], axis=-1)
    direction_H2 /= np.abs(direction_H2).max(axis=-1, keepdims=True)
    distance_K = np.concatenate([np.arange(1, points + 1) for points in spec.decoder.num_points])
    return (direction_H2[:, None, :] * distance_K[None, :, None]).reshape(-1)
