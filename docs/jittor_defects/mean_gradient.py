"""The gradient of mean in float64 has seven digits: it multiplies by 1/N as a float32 number."""

import sys

import jittor as jt
import numpy as np

jt.flags.auto_convert_64_to_32 = 0
x = jt.array(np.arange(3.0))
weight = jt.array(np.ones(1))  # so that the gradient starts in float64
gradient = float(jt.grad((x.mean() * weight).sum(), x).numpy()[0])
print(f"gradient of the mean of three: {gradient:.17f}, expected {1 / 3:.17f}")
sys.exit(int(abs(gradient - 1 / 3) > 1e-12))
