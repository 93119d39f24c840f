"""pad with the value 0.5 generates a kernel that does not compile: a number as C's hexadecimal float is cut off."""

import sys

import jittor as jt
import numpy as np

try:
    answer = str(jt.nn.pad(jt.array(np.zeros((1, 1, 1, 1), np.float32)), (0, 1, 0, 0), value=0.5).numpy().ravel())
except Exception as error:
    answer = type(error).__name__
print(f"[0] padded by 0.5: {answer}, expected [0.  0.5]")
sys.exit(int(answer != "[0.  0.5]"))
