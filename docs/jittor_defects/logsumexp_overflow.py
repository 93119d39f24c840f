"""logsumexp does not subtract the largest number first, so that it overflows from 89 on in float32."""

import sys

import jittor as jt
import numpy as np

x = jt.array(np.asarray([[100.0, 100.0]], np.float32))
value = float(jt.nn.logsumexp(x, 1).numpy()[0])
print(f"logsumexp of 100 and 100: {value:g}, expected {100 + np.log(2):g}")
sys.exit(int(not abs(value - 100 - np.log(2)) < 1e-3))
