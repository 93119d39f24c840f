"""relu, maximum and max drop a NaN, so that a diverged model looks finite. PyTorch and NumPy keep it."""

import sys

import jittor as jt
import numpy as np

x, zero = jt.array(np.asarray([np.nan, 1.0], np.float32)), jt.array(np.zeros(2, np.float32))
found = {
    "relu": jt.nn.relu(x).numpy()[0],
    "maximum": jt.maximum(x, zero).numpy()[0],
    "max": x.max().numpy()[0],
}
print(f"of NaN: {', '.join(f'{name} {value}' for name, value in found.items())}, expected nan")
sys.exit(int(any(not np.isnan(value) for value in found.values())))
