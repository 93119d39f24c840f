"""Compile a C++ file of this folder once per machine and load it."""

import contextlib
import ctypes
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from frameworks.errors import UserError
from frameworks.files import cache_folder, replacing
from frameworks.native import FOLDER

# The instructions of this processor, as in Jittor's kernels; the key below holds them, so that a home folder may be
# shared. Neither fast-math nor contraction into fused multiply-adds: results are those of the formulas' own steps.
FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=off", "-fopenmp", "-fPIC", "-shared")


@functools.cache
def load(name: str) -> ctypes.CDLL | None:
    """The library of ``name``.cpp; None, with one line on stderr, where it cannot be compiled or loaded."""
    try:
        return ctypes.CDLL(str(compiled(name)))
    except (OSError, UserError) as error:
        reason = error
    except subprocess.CalledProcessError as error:
        reason = next((line for line in error.stderr.splitlines() if "error" in line), error)
    print(f"{name}: the slow formula is used, because its C++ form cannot be compiled: {reason}", file=sys.stderr)
    return None


def compiled(name: str) -> Path:
    """Path of the shared library of ``name``.cpp, compiled unless the cache has it.

    Raises:
        OSError: there is no g++, or the cache folder cannot be written.
        UserError: there is no home folder for the cache.
        subprocess.CalledProcessError: g++ failed; its ``stderr`` says why.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        raise FileNotFoundError("g++ is not on PATH (apt-get install g++)")
    # What the driver would run names the compiler's version and spells out the instructions behind "native".
    driver = _run(compiler, *FLAGS, "-###", "-E", "-x", "c++", os.devnull)
    sources = sorted(FOLDER.glob(f"{name}.*"))
    parts = (driver, *(path.read_text("utf-8") for path in sources))
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    library = cache_folder() / "native" / f"{name}-{key}.so"
    if library.exists():
        return library
    library.parent.mkdir(parents=True, exist_ok=True)
    with library.with_suffix(".lock").open("w") as lock:
        with contextlib.suppress(OSError):  # a disk without locks; then each of them compiles
            fcntl.flock(lock, fcntl.LOCK_EX)  # of several workers that start at once, one compiles
        if not library.exists():
            with replacing(library) as partial:  # an interrupted compilation leaves no broken library
                _run(compiler, *FLAGS, str(FOLDER / f"{name}.cpp"), "-o", str(partial))
    return library


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr
