"""The gradient of a product with a zero in it is NaN: it is computed as product / x."""

import sys

import jittor as jt
import numpy as np

x = jt.array(np.asarray([[2.0, 0.0, 3.0]], np.float32))
gradient = jt.grad(x.prod(1).sum(), x).numpy()[0].tolist()
print(f"gradient of 2 * 0 * 3: {gradient}, expected [0.0, 6.0, 0.0]")
sys.exit(int(gradient != [0.0, 6.0, 0.0]))
