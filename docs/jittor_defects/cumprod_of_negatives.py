"""cumprod is exp(cumsum(log(x))), so that it is NaN from the first negative number on."""

import sys

import jittor as jt
import numpy as np

found = jt.cumprod(jt.array(np.asarray([2.0, -1.0, 3.0], np.float32)), 0).numpy().tolist()
print(f"cumulative product of 2, -1, 3: {found}, expected [2.0, -2.0, -6.0]")
sys.exit(int(not np.allclose(found, [2, -2, -6], rtol=1e-4)))
