"""scaled_dot_product_attention with a mask of bools uses a name that exists in another branch only."""

import sys

import jittor as jt
import numpy as np

x = jt.array(np.ones((1, 2, 4), np.float32))
try:
    answer = jt.attention.scaled_dot_product_attention(x, x, x, attn_mask=jt.array(np.eye(2, dtype=bool)))
    message = f"shape {list(answer.shape)}"
except NameError as error:
    message = f"NameError: {error}"
print(f"attention with a mask of bools: {message}, expected shape [1, 2, 4]")
sys.exit(int(message != "shape [1, 2, 4]"))
