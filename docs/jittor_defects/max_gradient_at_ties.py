"""Each of several largest elements gets the whole gradient of max; no subgradient is that large in sum."""

import sys

import jittor as jt
import numpy as np

x = jt.array(np.asarray([[5.0, 5.0, 5.0]], np.float32))
gradient = jt.grad(x.max(1).sum(), x).numpy()[0]
print(f"gradient of max of three equal numbers: {gradient.tolist()}, expected a sum of 1, found {gradient.sum()}")
sys.exit(int(abs(gradient.sum() - 1) > 1e-5))
