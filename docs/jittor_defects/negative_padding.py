"""pad with negative sizes, which crops in PyTorch, generates a kernel that does not compile."""

import sys

import jittor as jt
import numpy as np

x = jt.array(np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3))
try:
    cropped = jt.nn.pad(x, (-1, 0, 0, 0)).numpy()
    answer = str(cropped.tolist())
except Exception as error:
    cropped, answer = None, type(error).__name__
print(f"[[0, 1, 2], [3, 4, 5]] without its first column: {answer}, expected [[1, 2], [4, 5]]")
sys.exit(int(cropped is None or cropped.ravel().tolist() != [1, 2, 4, 5]))
