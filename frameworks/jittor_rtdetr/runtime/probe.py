"""Script that warm_up.py runs: import Jittor, which compiles it, and check the results of a few small operators.

The last line of its output is the result, as JSON after ``MARK``; the other lines are read for progress only.
"""

import json
import os
import signal
import sys
import threading
import time

MARK = "TWIN-DETR-PROBE "


def end_with_parent() -> None:
    """Kill this process and its compilers soon after its parent has died, which cannot do it after ``kill -9``."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.3)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def checks(jt, np) -> dict[str, bool]:
    """Small computations by name, and whether each is right; each has been seen wrong without an error."""
    tiny = np.array([1e-40], dtype=np.float32)
    thirds = np.arange(1, 50, dtype=np.float32)
    nan = jt.array(np.array([np.nan, 1.0], dtype=np.float32))
    double = jt.array(np.array([1.0, 1e-12], dtype=np.float64))
    return {
        "arithmetic": (jt.array([1.0, 2.0]) + 1).numpy().tolist() == [2.0, 3.0],
        "nan_differs_from_itself": (nan != nan).numpy().tolist() == [True, False],
        "float64_stays": str(double.dtype) == "float64" and double.sum().numpy().item() == 1.0 + 1e-12,
        "denormals_stay": float((jt.array(tiny) * 1.0).numpy()[0]) == float(tiny[0]),
        "division_is_rounded": bool(((1.0 / jt.array(thirds)).numpy() == np.float32(1.0) / thirds).all()),
        "convolution": _convolution(jt, np),
    }


def _convolution(jt, np) -> bool:
    rng = np.random.default_rng(0)
    image = rng.standard_normal((1, 8, 6, 6)).astype(np.float32)
    weight = rng.standard_normal((16, 8, 3, 3)).astype(np.float32)
    got = jt.nn.conv2d(jt.array(image), jt.array(weight)).numpy()
    windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(2, 3))
    expected = np.einsum("bchwij,ocij->bohw", windows.astype(np.float64), weight.astype(np.float64))
    return bool(np.abs(got - expected).max() < 1e-4)


def main() -> None:
    """Import Jittor for the device and with the compiler script of the command line, check, print the result."""
    end_with_parent()
    import jittor_utils

    # Jittor starts one compiler for every 3 GiB of memory: on 2 cores, 7 took 13 to 40 % longer than 2.
    jittor_utils.get_total_mem = lambda: max(2, len(os.sched_getaffinity(0))) * 3 * 2**30
    import jittor as jt
    import numpy as np

    jt.flags.auto_convert_64_to_32 = 0
    if sys.argv[1] == "cuda":
        jt.flags.use_cuda = 1
    if sys.argv[2]:
        jt.flags.python_path = sys.argv[2]
    found = {
        "cache_path": jt.flags.cache_path,
        "has_cuda": bool(jt.compiler.has_cuda),
        "use_tensorcore": int(jt.flags.use_tensorcore),
        "nvcc_flags": jt.flags.nvcc_flags,
        "cc_flags": jt.flags.cc_flags,
        "checks": checks(jt, np),
    }
    print("\n" + MARK + json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
