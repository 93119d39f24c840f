"""A Python number in an expression is rounded to float32, although everything else is float64."""

import sys

import jittor as jt
import numpy as np

jt.flags.auto_convert_64_to_32 = 0
x = jt.array(np.asarray([1.0]))
product = (x * 0.1).numpy()
error = abs(product[0] - 0.1)
print(f"1 * 0.1 in {product.dtype}: {product[0]:.17f}, expected {0.1:.17f}")
sys.exit(int(error > 1e-12))
