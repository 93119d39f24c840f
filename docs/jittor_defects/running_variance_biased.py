"""BatchNorm's running variance is the biased one, PyTorch's divides by n - 1: a port evaluates otherwise."""

import sys

import jittor as jt
import numpy as np

x = np.asarray([-1, 1], np.float32).reshape(2, 1, 1, 1)
norm = jt.nn.BatchNorm2d(1)
norm(jt.array(x)).sync()
found, expected = float(norm.running_var.numpy()[0]), 0.9 + 0.1 * float(x.var(ddof=1))
print(f"running variance after -1 and 1: {found:.3f}, expected {expected:.3f}")
sys.exit(int(abs(found - expected) > 1e-4))
