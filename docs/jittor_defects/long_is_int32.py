"""Var.long() is int32, so that a large index or a product of sizes wraps around without an error."""

import sys

import jittor as jt
import numpy as np

jt.flags.auto_convert_64_to_32 = 0
value = jt.array(np.asarray([2**40])).long()
print(f"2**40 as long: {int(value.numpy()[0])} in {value.dtype}, expected {2**40} in int64")
sys.exit(int(value.numpy()[0] != 2**40))
