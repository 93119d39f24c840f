"""The gradient of elu is NaN for large numbers: exp(x) of the branch that was not taken overflows, times 0."""

import sys

import jittor as jt
import numpy as np

x = jt.array(np.asarray([200.0], np.float32))
gradient = float(jt.grad(jt.nn.elu(x).sum(), x).numpy()[0])
print(f"gradient of elu at 200: {gradient}, expected 1.0")
sys.exit(int(gradient != 1.0))
