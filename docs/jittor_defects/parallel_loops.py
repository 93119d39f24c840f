"""With the option parallel an elementwise kernel of three axes never ends: it computes 1 << (a negative number)."""

import os
import subprocess
import sys

MULTIPLY = """
import jittor as jt
jt.flags.compile_options = {"parallel": 1}
x, w = jt.ones((4, 500, 256)), jt.ones((256,))
print((x * w + 1.5).numpy().max())
"""
variables = os.environ | {"OMP_NUM_THREADS": "2"}
try:
    subprocess.run([sys.executable, "-c", MULTIPLY], capture_output=True, env=variables, timeout=90, check=True)
    answer = "an answer"
except subprocess.TimeoutExpired:
    answer = "no answer within 90 s"
except subprocess.CalledProcessError as error:
    answer = f"the process died with status {error.returncode}"
print(f"x * w + 1.5 of [4, 500, 256] in parallel: {answer}, expected an answer")
sys.exit(int(answer != "an answer"))
