"""A Python number before a float64 array of one element makes it float32; behind it, or with two elements, not."""

import sys

import jittor as jt
import numpy as np

jt.flags.auto_convert_64_to_32 = 0
one, two = 1 - jt.array(np.asarray([0.1])), 1 - jt.array(np.asarray([0.1, 0.2]))
print(f"1 - [0.1] in float64: {one.dtype}, 1 - [0.1, 0.2]: {two.dtype}, expected float64 twice")
sys.exit(int(str(one.dtype) != "float64"))
