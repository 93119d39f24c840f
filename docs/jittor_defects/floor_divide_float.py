"""x // 0.75 kills the process: both operands become integers, and 0.75 becomes 0."""

import subprocess
import sys

DIVIDE = """
import jittor as jt
import numpy as np
print((jt.array(np.asarray([2.0], np.float32)) // 0.75).numpy())
"""
process = subprocess.run([sys.executable, "-c", DIVIDE], capture_output=True, text=True)
answer = process.stdout.strip()
print(f"2 // 0.75: {answer or f'the process died with status {process.returncode}'}, expected [2.]")
sys.exit(int(answer != "[2.]"))
