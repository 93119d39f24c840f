"""Two limits of the machine: float32 matrix products and copies, on all cores. NumPy only."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from frameworks.threads import cores

SIDES = (512, 1024, 2048, 3072)  # of the matrices
COPIED_MB = 512  # far more than any cache holds
REPEATS = 7


def measure_limits() -> dict[str, float]:
    """``gflops`` of the best matrix product, and ``copy_gb_per_s``, bytes read and written of the best copy."""
    return {"gflops": max(map(product_gflops, SIDES)), "copy_gb_per_s": copy_gb_per_second(COPIED_MB)}


def product_gflops(side: int) -> float:
    """Best rate of a product of two square float32 matrices, in 10^9 operations a second."""
    stream = np.random.Generator(np.random.PCG64(0))
    a, b = (stream.standard_normal((side, side), dtype=np.float32) for _ in range(2))
    out = np.empty_like(a)
    return 2 * side**3 / _best(lambda: np.matmul(a, b, out=out)) / 1e9


def copy_gb_per_second(megabytes: int) -> float:
    """Best rate of a copy by one thread per core: 10^9 bytes read plus 10^9 bytes written count as 2 GB."""
    source = np.ones(megabytes * 10**6 // 4, np.float32)
    target = np.zeros_like(source)
    parts = list(zip(*(np.array_split(array, cores()) for array in (target, source)), strict=True))
    with ThreadPoolExecutor(len(parts)) as pool:  # NumPy copies without the interpreter's lock
        best = _best(lambda: list(pool.map(lambda pair: np.copyto(*pair), parts)))
    return 2 * source.nbytes / best / 1e9


def _best(call: Callable[[], object]) -> float:
    call()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
