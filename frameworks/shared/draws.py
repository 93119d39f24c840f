"""Weights, inputs, targets and noise as pure functions of a name: the oracle's documented recipe.

Every number comes from the raw 64-bit output of PCG64 seeded with ``crc32("SEED:name")``: the bit stream is
stable across NumPy versions, its distributions are not.
"""

import re
import zlib

import numpy as np

from frameworks.arrays import Arrays
from frameworks.state.parameters import Shape

TARGETS_PER_IMAGE = (5, 3)


def uniform(name: str, shape: Shape, seed: str) -> np.ndarray:
    """float64 in [0, 1), filled in C order."""
    raw = np.random.PCG64(zlib.crc32(f"{seed}:{name}".encode())).random_raw(int(np.prod(shape, dtype=np.int64)))
    return ((np.asarray(raw, np.uint64) >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)


def weights(shapes: dict[str, Shape], seed: str) -> Arrays:
    """float32 values for every entry: far from initialisation, so that no term is zero or one by luck."""
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
    """[B, 3, H, W] float32 in [0, 1): blocks of 16 pixels plus fine noise; H and W multiples of 32."""
    coarse = uniform(f"input.coarse.{batch}x{h}x{w}", (batch, 3, h // 16, w // 16), seed)
    fine = uniform(f"input.fine.{batch}x{h}x{w}", (batch, 3, h, w), seed)
    return (0.75 * np.repeat(np.repeat(coarse, 16, 2), 16, 3) + 0.25 * fine).astype(np.float32)


def targets(seed: str, counts: tuple[int, ...] = TARGETS_PER_IMAGE, num_classes: int = 80) -> Arrays:
    """``labels`` [N] int64, ``boxes`` [N, 4] float32 cxcywh, ``counts`` [B]."""
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
    """The four draws of ``count`` denoising queries per image."""
    return {
        "noise/label_u": uniform("dn.label_u", (batch, count), seed).astype(np.float32),
        "noise/new_label": np.floor(uniform("dn.new_label", (batch, count), seed) * num_classes).astype(np.int64),
        "noise/sign": (np.floor(uniform("dn.sign", (batch, count, 4), seed) * 2) * 2 - 1).astype(np.float32),
        "noise/part": uniform("dn.part", (batch, count, 4), seed).astype(np.float32),
    }


def samples(array: np.ndarray, count: int) -> np.ndarray:
    """``count`` values at evenly spaced flat indices, as the oracle stores them."""
    flat = array.reshape(-1)
    count = min(count, flat.size)
    return flat[np.arange(count) * flat.size // count] if count else flat
