"""Drawn weights, images, targets and noise for parity tests: pure functions of a name, a shape and a seed.

Every framework gets the same NumPy arrays, and a stored reference needs only the seed to be computed again. The
values are no trained and no initial weights: no parameter has a neutral value (0 for a bias, 1 for a scale) that
would hide an error, and activations keep their scale through the depth of the model.

**Numbers.** ``uniform(name, shape, seed)`` takes the raw 64-bit outputs of PCG64 seeded with
``crc32("SEED:name")``, shifts each right by 11 bits and multiplies by 2**-53: float64 in [0, 1), in C order.
NumPy promises that this bit stream never changes, which it does not promise for its distributions. Below, u is
such a number and s = 2 u - 1.

**Weights**, float32, by canonical name:

========================================  ===========================================================
``num_batches_tracked``                   0, int64
``running_mean``                          0.1 s
``running_var``                           0.75 + 0.5 u
bias of a score head                      -2 + 0.5 s, so that few queries have high scores
bias of the sampling offsets              2 s
weight of ``denoising_class_embed``       s; 0 in the last row, which is padding
other weight of one dimension (norms)     1 + 0.25 s
other bias                                0.1 s
other weight [out, in, ...]               s sqrt(3 / fan_in), whose variance is 1 / fan_in
========================================  ===========================================================

**Images** [B, 3, H, W]: 0.75 times a number for each block of 16 x 16 pixels plus 0.25 times one for each pixel,
so that there is structure at the strides of the model and detail below them. **Targets**: centres in [0.2, 0.8),
sides in [0.1, 0.4), each relative to the image, and classes floor(u num_classes); by default 5 and 3 boxes in two
images. **Noise**: the four draws of the denoising queries, as ``frameworks.shared.noise`` describes them.
"""

import re
import zlib

import numpy as np

from frameworks.arrays import Arrays
from frameworks.state.parameters import Shape

TARGETS_PER_IMAGE = (5, 3)


def uniform(name: str, shape: Shape, seed: str) -> np.ndarray:
    """float64 numbers in [0, 1) of ``shape``, the same for the same ``name`` and ``seed`` everywhere."""
    raw = np.random.PCG64(zlib.crc32(f"{seed}:{name}".encode())).random_raw(int(np.prod(shape, dtype=np.int64)))
    return ((np.asarray(raw, np.uint64) >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)


def weights(shapes: dict[str, Shape], seed: str) -> Arrays:
    """A float32 array (int64 for counters) for every entry of a state, drawn by name as described above."""
    return {name: _weight(name, shape, seed) for name, shape in shapes.items()}


def _weight(name: str, shape: Shape, seed: str) -> np.ndarray:
    leaf = name.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    u = uniform(name, shape, seed)
    s = 2.0 * u - 1.0
    if leaf == "running_mean":
        value = 0.1 * s
    elif leaf == "running_var":
        value = 0.75 + 0.5 * u
    elif re.search(r"score_head(\.\d+)?\.bias$", name):
        value = -2.0 + 0.5 * s
    elif name.endswith("sampling_offsets.bias"):
        value = 2.0 * s
    elif name.endswith("denoising_class_embed.weight"):
        value = s
        value[-1] = 0.0
    elif len(shape) <= 1:
        value = 1.0 + 0.25 * s if leaf == "weight" else 0.1 * s
    else:
        value = s * np.sqrt(3.0 / np.prod(shape[1:]))
    return value.astype(np.float32)


def images(batch: int, h: int, w: int, seed: str) -> np.ndarray:
    """Images [batch, 3, h, w], float32 in [0, 1); ``h`` and ``w`` are multiples of 16."""
    coarse = uniform(f"input.coarse.{batch}x{h}x{w}", (batch, 3, h // 16, w // 16), seed)
    fine = uniform(f"input.fine.{batch}x{h}x{w}", (batch, 3, h, w), seed)
    return (0.75 * np.repeat(np.repeat(coarse, 16, 2), 16, 3) + 0.25 * fine).astype(np.float32)


def targets(seed: str, counts: tuple[int, ...] = TARGETS_PER_IMAGE, num_classes: int = 80) -> Arrays:
    """Targets of ``len(counts)`` images, ``counts[i]`` of image i.

    Returns:
        ``labels`` [N] int64, ``boxes`` [N, 4] float32 cxcywh relative to the image, ``counts`` [B] int64.
    """
    labels, boxes = [], []
    for i, n in enumerate(counts):
        labels.append(np.floor(uniform(f"target.labels.{i}", (n,), seed) * num_classes).astype(np.int64))
        centre = 0.2 + 0.6 * uniform(f"target.cxcy.{i}", (n, 2), seed)
        size = 0.1 + 0.3 * uniform(f"target.wh.{i}", (n, 2), seed)
        boxes.append(np.concatenate([centre, size], axis=1).astype(np.float32))
    return {
        "labels": np.concatenate(labels),
        "boxes": np.concatenate(boxes),
        "counts": np.asarray(counts, np.int64),
    }


def noise(batch: int, count: int, seed: str, num_classes: int = 80) -> Arrays:
    """The draws of ``count`` denoising queries for each of ``batch`` images, see ``frameworks.shared.noise``."""
    return {
        "noise/label_u": uniform("dn.label_u", (batch, count), seed).astype(np.float32),
        "noise/new_label": np.floor(uniform("dn.new_label", (batch, count), seed) * num_classes).astype(np.int64),
        "noise/sign": (np.floor(uniform("dn.sign", (batch, count, 4), seed) * 2) * 2 - 1).astype(np.float32),
        "noise/part": uniform("dn.part", (batch, count, 4), seed).astype(np.float32),
    }


def samples(array: np.ndarray, count: int) -> np.ndarray:
    """``count`` values of an array at evenly spaced flat indices, all of them where it is smaller."""
    flat = array.reshape(-1)
    count = min(count, flat.size)
    return flat[np.arange(count) * flat.size // count] if count else flat
