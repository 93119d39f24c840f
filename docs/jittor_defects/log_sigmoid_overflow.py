"""log_sigmoid is log(sigmoid(x)), bounded: far below zero its value stands still and its gradient is lost."""

import sys

import jittor as jt
import numpy as np

x = jt.array(np.asarray([-1000.0], np.float32))
value = jt.nn.log_sigmoid(x)
gradient = float(jt.grad(value.sum(), x).numpy()[0])
print(f"log_sigmoid(-1000): {float(value.numpy()[0]):g}, expected -1000; gradient {gradient:g}, expected 1")
sys.exit(int(abs(float(value.numpy()[0]) + 1000) > 1 or abs(gradient - 1) > 1e-3))
