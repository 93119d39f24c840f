"""avg_pool2d with padding divides by the whole window although count_include_pad=False."""

import sys

import jittor as jt
import numpy as np

x = jt.array(np.ones((1, 1, 4, 4), np.float32))
corner = float(jt.nn.avg_pool2d(x, 3, 2, 1, count_include_pad=False).numpy()[0, 0, 0, 0])
print(f"average of a corner of ones, padding not counted: {corner:.4f}, expected 1.0000")
sys.exit(int(abs(corner - 1) > 1e-4))
