"""jt.grad starts from the plain number 1, which stays float32 until it meets an array: 1/160 loses digits."""

import sys

import jittor as jt
import numpy as np

jt.flags.auto_convert_64_to_32 = 0
x, factor = jt.array(np.ones(3)), jt.array(np.asarray([1 / 160]))
gradient = float(jt.grad(1.0 * (x.sum() * factor), x).numpy()[0])
print(f"gradient of sum(x) / 160: {gradient:.17f}, expected {1 / 160:.17f}")
sys.exit(int(abs(gradient - 1 / 160) > 1e-12))
