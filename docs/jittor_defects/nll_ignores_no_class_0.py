"""nll_loss(ignore_index=0) ignores nothing, because the code asks ``ignore_index > 0``."""

import sys

import jittor as jt
import numpy as np

log_shares = np.log(np.asarray([[0.9, 0.1], [0.5, 0.5]], np.float32))
loss = float(jt.nn.nll_loss(jt.array(log_shares), jt.array(np.asarray([0, 1])), ignore_index=0).numpy()[0])
print(f"nll_loss with class 0 ignored: {loss:.4f}, expected {-np.log(0.5):.4f}")
sys.exit(int(abs(loss + np.log(0.5)) > 1e-4))
