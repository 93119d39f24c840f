"""Compiling for Jittor: precompiled headers, used or reported, and one copy of Jittor for all environments."""

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from frameworks.jittor_rtdetr.runtime import compiler_script, shared_copy

COMPILER = shutil.which("g++")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="g++ is not installed here")


@pytest.fixture
def script(tmp_path) -> Path:
    """The script, with small headers in place of Jittor's."""
    assert COMPILER is not None
    path = compiler_script.write_compiler_script(tmp_path, COMPILER, "test")
    assert path is not None
    for kind in ("kernel", "core"):
        (path.parent / f"{kind}.h").write_text("#include <cmath>\n#define FROM_HEADER 7\n", encoding="utf-8")
    return path


def compile_kernel(script: Path, folder: Path, text: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """The command that Jittor gives for a kernel on a CPU."""
    source = folder / "cache" / "jit" / "one_op.cc"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(textwrap.dedent(text), encoding="utf-8")
    tuner = ["/jittor/utils/asm_tuner.py", f"--cc_path={script}"]
    command = [script, *tuner, source, "-fPIC", "-O1", *flags, "-shared", "-o", source.with_suffix(".so")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


KERNEL = """
    #define JIT 1
    #define JIT_cpu 1
    extern "C" int answer() { return FROM_HEADER; }
"""


def test_kernel_reads_the_precompiled_header(script, tmp_path):
    assert compile_kernel(script, tmp_path, KERNEL).returncode == 0
    assert (script.parent / "kernel.h.gch").is_file() and compiler_script.problem(script.parent) is None
    # The header's text is no longer read: only its compiled form can give this name now.
    (script.parent / "kernel.h").write_text("", encoding="utf-8")
    assert compile_kernel(script, tmp_path, KERNEL).returncode == 0
    # Other flags than the header's: g++ runs without it.
    result = compile_kernel(script, tmp_path, KERNEL, "-O3")
    assert result.returncode != 0 and "FROM_HEADER" in result.stderr


def test_compiler_errors_stay_visible(script, tmp_path):
    result = compile_kernel(script, tmp_path, "int f() { return missing_name; }")
    assert result.returncode != 0 and "missing_name" in result.stderr


def test_header_that_does_not_compile_is_reported_and_left_out(script, tmp_path):
    (script.parent / "kernel.h").write_text("#include <no_such_header>\n", encoding="utf-8")
    assert compile_kernel(script, tmp_path, "int f() { return 1; }").returncode == 0
    reason = compiler_script.problem(script.parent)
    assert reason is not None and "no_such_header" in reason and "\n" not in reason
    assert compile_kernel(script, tmp_path, KERNEL).returncode != 0


def test_interrupted_header_is_made_again(script, tmp_path):
    (script.parent / "kernel.making").mkdir()
    assert compile_kernel(script, tmp_path, KERNEL).returncode != 0
    compiler_script.forget_unfinished(script.parent)
    assert compile_kernel(script, tmp_path, KERNEL).returncode == 0
    compiler_script.forget_unfinished(script.parent)
    assert (script.parent / "kernel.making").is_dir()


def test_folder_depends_on_what_the_header_depends_on(tmp_path):
    scripts = {compiler_script.write_compiler_script(tmp_path, "g++", [flags]) for flags in ("-O1", "-O3")}
    assert len({script.parent for script in scripts if script}) == 2


def test_one_switch_leaves_gcc_alone(tmp_path, monkeypatch):
    monkeypatch.setenv(compiler_script.VARIABLE, "1")
    assert compiler_script.write_compiler_script(tmp_path, "g++", []) is None


def fake_package(folder: Path, text: str) -> Path:
    for name in shared_copy.PACKAGES:
        (folder / name / "__pycache__").mkdir(parents=True)
        (folder / name / "__init__.py").write_text(text, encoding="utf-8")
        (folder / name / "__pycache__" / "x.pyc").write_text(sys.version, encoding="utf-8")
    return folder / "jittor"


def test_environments_with_the_same_jittor_share_one_copy(tmp_path):
    one = shared_copy.share_jittor(fake_package(tmp_path / "one", "a"), "1.0", tmp_path)
    two = shared_copy.share_jittor(fake_package(tmp_path / "two", "a"), "1.0", tmp_path)
    other = shared_copy.share_jittor(fake_package(tmp_path / "other", "b"), "1.0", tmp_path)
    assert one == two != other
    assert shared_copy.share_jittor(one / "jittor", "1.0", tmp_path) == one
    assert sorted(p.name for p in one.rglob("*") if p.is_file()) == ["__init__.py", "__init__.py"]
    assert [p.name for p in tmp_path.glob(".jittor-*")] == []
