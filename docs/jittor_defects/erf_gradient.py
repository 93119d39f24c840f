"""The gradient of erf in float64 has seven digits: 2 / sqrt(pi) is a float32 number. GELU inherits it."""

import math
import sys

import jittor as jt
import numpy as np

jt.flags.auto_convert_64_to_32 = 0
x = jt.array(np.asarray([0.5]))
gradient = float(jt.grad(jt.erf(x).sum(), x).numpy()[0])
expected = 2 / math.sqrt(math.pi) * math.exp(-0.25)
print(f"gradient of erf at 0.5: {gradient:.15f}, expected {expected:.15f}")
sys.exit(int(abs(gradient - expected) > 1e-12))
