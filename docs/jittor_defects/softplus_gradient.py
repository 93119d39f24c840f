"""The gradient of softplus is 0 at exactly 20, where its two formulas meet: neither passes it on."""

import sys

import jittor as jt
import numpy as np

x = jt.array(np.asarray([20.0], np.float32))
gradient = float(jt.grad(jt.nn.softplus(x).sum(), x).numpy()[0])
print(f"gradient of softplus at 20: {gradient}, expected 1.0")
sys.exit(int(abs(gradient - 1) > 1e-3))
