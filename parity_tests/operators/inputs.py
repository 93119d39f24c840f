"""Inputs that several families share. Shapes are few, since Jittor compiles a kernel for every number of axes."""

import numpy as np

Array = np.ndarray


def drawn(*shape: int, seed: int = 0, scale: float = 1.0, mean: float = 0.0) -> Array:
    """Normal numbers in float64."""
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(shape) * scale + mean


def uniform(*shape: int, seed: int = 0, low: float = 0.0, high: float = 1.0) -> Array:
    """Uniform numbers in float64."""
    return np.random.Generator(np.random.PCG64(seed)).uniform(low, high, shape)


def indices(*shape: int, below: int, seed: int = 0) -> Array:
    """Integers from 0 to ``below`` - 1 in int64."""
    return np.random.Generator(np.random.PCG64(seed)).integers(0, below, shape)


def table(*numbers: float) -> Array:
    """The numbers in two rows."""
    return np.asarray(numbers, np.float64).reshape(2, -1)


def empty(*shape: int) -> Array:
    """No numbers."""
    return np.zeros(shape)


ORDINARY = drawn(4, 6, scale=2.0)
POSITIVE = uniform(4, 6, low=0.1, high=3.0)
INTEGERS = table(-3, -2, -1, 0, 1, 2, 3, 4)
BOUNDS = table(-2, -1, -0.5, 0, 0.5, 1, 2, 0)
LARGE = table(-20, -15, -9, -1, 0.5, 9, 15, 20)
HUGE = table(-1e4, -200, -100, -50, -1, 0.5, 50, 100, 200, 1e4)
SPECIAL = table(np.nan, np.inf, -np.inf, 0, -0.0, 1, -1, 2)
NONE = empty(0, 6)

ANY = {"ordinary": (ORDINARY,), "zeros and bounds": (BOUNDS,), "NaN and infinity": (SPECIAL,), "empty": (NONE,)}
WIDE = ANY | {"large": (LARGE,), "huge": (HUGE,)}
PAIRS = {
    "ordinary": (ORDINARY, drawn(4, 6, seed=1)),
    "ties": (INTEGERS, table(-3, 2, -1, 0, 1, -2, 5, 4)),
    "NaN and infinity": (SPECIAL, table(1, 1, 1, np.nan, 1, np.inf, np.nan, -np.inf)),
    "empty": (NONE, NONE),
}
