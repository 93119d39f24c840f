"""The count of compiled kernels, on libraries that are compiled and loaded here in Jittor's place."""

import ctypes
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from frameworks.jittor_rtdetr.runtime.compiled import CompiledKernels, covered

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


def compile_kernel(folder: Path, name: str, *, load: bool = True) -> Path:
    """What Jittor leaves of a kernel: the source and, later, the library."""
    source, library = folder / f"{name}.cc", folder / f"{name}.so"
    source.write_text(f'extern "C" int {name}() {{ return 0; }}\n')
    subprocess.run(["cc", "-x", "c++", "-shared", "-fPIC", "-o", library, source], check=True)
    if load:
        ctypes.CDLL(str(library))
    return library


def test_only_kernels_that_are_new_and_in_use_count(tmp_path):
    compile_kernel(tmp_path, "before")
    time.sleep(0.05)  # the clock of files is coarse
    kernels = CompiledKernels(tmp_path)
    assert kernels.count_new() == (0, 0.0)
    start = time.time()
    compile_kernel(tmp_path, "first")
    compile_kernel(tmp_path, "second")
    compile_kernel(tmp_path, "of_another_process", load=False)
    count, seconds = kernels.count_new()
    assert count == 2 and 0 < seconds <= time.time() - start + 0.05
    assert kernels.count_new() == (0, 0.0)
    compile_kernel(tmp_path, "third")
    assert kernels.count_new()[0] == 1


def test_an_old_source_does_not_lengthen_the_time(tmp_path):
    kernels = CompiledKernels(tmp_path)
    library = compile_kernel(tmp_path, "again")
    os.utime(library.with_suffix(".cc"), (0, 0))
    count, seconds = kernels.count_new()
    assert count == 1 and seconds < 60


def test_compilers_side_by_side_are_counted_once():
    assert covered([(5, 6), (0, 2), (1, 3), (1, 2)]) == 4
    assert covered([]) == 0


def test_no_folder_yet(tmp_path):
    assert CompiledKernels(tmp_path / "jit").count_new() == (0, 0.0)
