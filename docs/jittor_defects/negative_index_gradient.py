"""Negative numbers in an array of indices are counted from the end, but their gradient is lost."""

import sys

import jittor as jt
import numpy as np

x = jt.array(np.asarray([1.0, 2.0, 3.0], np.float32))
last = x[jt.array(np.asarray([-1]))]
gradient = jt.grad(last.sum(), x).numpy().tolist()
print(f"x[-1] is {float(last.numpy()[0])} and its gradient {gradient}, expected [0.0, 0.0, 1.0]")
sys.exit(int(gradient != [0.0, 0.0, 1.0]))
