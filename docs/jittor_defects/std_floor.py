"""The standard deviation is at least 0.001: the variance is bounded below before the root is taken."""

import sys

import jittor as jt
import numpy as np

found = float(jt.array(np.asarray([-1e-5, 1e-5], np.float32)).std().numpy()[0])
expected = float(np.std([-1e-5, 1e-5], ddof=1))
print(f"standard deviation of -1e-5 and 1e-5: {found:.1e}, expected {expected:.1e}")
sys.exit(int(abs(found / expected - 1) > 0.01))
