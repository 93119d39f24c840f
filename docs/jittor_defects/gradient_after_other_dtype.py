"""A float64 gradient is garbage, without an error, after the same graph ran in float32 in the same process."""

import sys

import jittor as jt
import numpy as np

jt.flags.auto_convert_64_to_32 = 0


def gradient(dtype):
    """The gradient of the sum of two slices of ones: one everywhere."""
    x = jt.array(np.ones((4, 6), dtype))
    return jt.grad(x[:, :1].sum() + x[:, 1:].sum(), x).numpy()


gradient("float32")  # without this line the next one is right
second = gradient("float64")
print(f"gradient of the sum of two slices in float64, after float32: {second[0, 0]:g}, expected 1")
sys.exit(int(np.abs(second - 1).max() > 1e-6))
