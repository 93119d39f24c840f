"""isinf and isfinite cast to float32 first: 1e300 counts as infinite."""

import sys

import jittor as jt
import numpy as np

jt.flags.auto_convert_64_to_32 = 0
x = jt.array(np.asarray([1e300]))
found = bool(jt.isinf(x).numpy()[0]), bool(jt.isfinite(x).numpy()[0])
print(f"isinf(1e300), isfinite(1e300): {found}, expected (False, True)")
sys.exit(int(found != (False, True)))
