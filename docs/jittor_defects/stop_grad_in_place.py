"""Var.stop_grad() looks like detach() but changes its argument: the other uses lose their gradient."""

import sys

import jittor as jt
import numpy as np

x = jt.array(np.asarray([2.0], np.float32))
y = x * 3
stopped = y.stop_grad()
gradient = float(jt.grad((y * stopped).sum(), x).numpy()[0])
print(f"gradient of y * stopped(y), y = 3 x, at 2: {gradient}, expected 18.0")
sys.exit(int(gradient != 18.0))
