"""Noise of the denoising queries, drawn in NumPy so that every framework denoises the same boxes."""

import numpy as np

from frameworks.arrays import Arrays
from frameworks.config import ModelSpec


def denoising_count(spec: ModelSpec, counts: np.ndarray) -> int:
    """Number of denoising queries per image: largest count * 2 * groups; ``counts`` [B] are the targets per image.

    Where no image has a target: none in v1, one pair in v2 (docs/pitfalls.md E.8).
    """
    largest = int(counts.max(initial=0))
    if spec.decoder.num_denoising == 0:
        return 0
    if largest == 0:
        return 2 if spec.version == "v2" else 0
    return largest * 2 * max(1, spec.decoder.num_denoising // largest)


def draw_noise(spec: ModelSpec, counts: np.ndarray, stream: np.random.Generator) -> Arrays:
    """The random numbers of N denoising queries per image, drawn from ``stream`` in the official order.

    Returns:
        ``noise/label_u`` [B, N] in [0, 1), ``noise/new_label`` [B, N] int64 classes, ``noise/sign`` [B, N, 4] of -1
        and 1, ``noise/part`` [B, N, 4] in [0, 1); nothing where there are no denoising queries.
    """
    count = denoising_count(spec, counts)
    if count == 0:
        return {}
    shape = (len(counts), count)
    return {
        "noise/label_u": stream.random(shape, np.float32),
        "noise/new_label": stream.integers(0, spec.num_classes, shape, np.int64),
        "noise/sign": stream.integers(0, 2, (*shape, 4)).astype(np.float32) * 2 - 1,
        "noise/part": stream.random((*shape, 4), np.float32),
    }
