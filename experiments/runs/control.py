"""The control of a run: one framework again, from weights that are moved by one unit in the last place.

No one can tell such weights from the others by their use, but training is chaotic: the two trainings part. How
far is the measure for every difference between frameworks.
"""

import zlib

import numpy as np

from frameworks.arrays import Arrays


def moved_weights(weights: Arrays, parameters: list[str], seed: int, control: str) -> Arrays:
    """The weights with every number of the named float32 arrays moved to the next one above or below it.

    Args:
        weights: the whole state by canonical name; running statistics and counters stay as they are.
        parameters: names of the arrays to move.
        seed: of the run; with the name of the control it draws the signs.
    """
    moved = dict(weights)
    for name in parameters:
        draw = np.random.Generator(np.random.PCG64([seed, zlib.crc32(f"{control} {name}".encode())]))
        array = weights[name]
        towards = np.where(draw.random(array.shape) < 0.5, -np.inf, np.inf).astype(array.dtype)
        moved[name] = np.nextafter(array, towards)
    return moved
