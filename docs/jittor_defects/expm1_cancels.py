"""expm1 is exp(x) - 1, which is what expm1 exists to avoid."""

import sys

import jittor as jt
import numpy as np

value = float(jt.expm1(jt.array(np.asarray([1e-6], np.float32))).numpy()[0])
expected = float(np.expm1(np.float32(1e-6)))
print(f"expm1(1e-6): {value:.6e}, expected {expected:.6e}")
sys.exit(int(abs(value / expected - 1) > 1e-4))
