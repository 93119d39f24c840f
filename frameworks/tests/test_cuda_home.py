"""The CUDA folder: assembled from fake files on every machine, and compiled with where a real nvcc works."""

import os
import subprocess
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

from frameworks.errors import UserError
from frameworks.jittor_rtdetr.runtime import cuda_home, environment

LIBRARIES = {
    "cu13": (
        *("libcudart.so.13", "libcublas.so.13", "libcublasLt.so.13"),
        *("libcurand.so.10", "libcufft.so.12", "libcusparse.so.12"),
    ),
    "cudnn": ("libcudnn.so.9", "libcudnn_ops.so.9", "libcudnn_cnn.so.9"),
}
HEADERS = {
    "cu13": ("cublas_v2.h", "curand.h", "cufft.h", "cusparse.h", "cuda_runtime.h"),
    "cudnn": ("cudnn.h",),
}


@pytest.fixture
def toolkit(tmp_path):
    """An nvcc that prints its arguments, and nothing of the libraries."""
    home = tmp_path / "toolkit"
    for name in ("include/cuda_runtime.h", "include/cccl/cub/cub.cuh", "include/crt/host_config.h"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).touch()
    (home / "bin").mkdir()
    nvcc = home / "bin" / "nvcc"
    nvcc.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "release 13.0, V13.0.88" || printf "%s\\n" "$@"\n')
    nvcc.chmod(0o755)
    return home


@pytest.fixture
def wheels(tmp_path):
    site = tmp_path / "site-packages"
    for kind, folder in ((LIBRARIES, "lib"), (HEADERS, "include")):
        for package, names in kind.items():
            (site / "nvidia" / package / folder).mkdir(parents=True)
            for name in names:
                (site / "nvidia" / package / folder / name).touch()
    return site


def test_home_has_what_jittor_looks_for(toolkit, wheels, tmp_path):
    home = cuda_home.prepare_cuda_home([wheels], toolkit, tmp_path / "out")
    assert home.parent == tmp_path / "out" and home.name.startswith("cuda_home-")
    for name in ("libcublas.so", "libcublas.so.13", "libcudnn.so", "libcudart.so", "libcusparse.so"):
        assert (home / "lib64" / name).exists(), name
    assert (home / "lib64" / "libcudnn_ops_train.so").resolve().name == "libcudnn_ops.so.9"
    assert (home / "lib64" / "libcudnn_cnn_infer.so").resolve().name == "libcudnn_cnn.so.9"
    assert (home / "include" / "cudnn_real.h").resolve() == wheels / "nvidia" / "cudnn" / "include" / "cudnn.h"
    assert "JT_STUB" in (home / "include" / "cudnn.h").read_text()
    assert "NPP_MAX_64U" in (home / "include" / "npp.h").read_text()
    assert "include_next" in (home / "include" / "cub" / "cub.cuh").read_text()
    # The toolkit's header and not the wheel's: nvcc's own folder crt/ belongs to it.
    assert (home / "include" / "cuda_runtime.h").resolve() == toolkit / "include" / "cuda_runtime.h"
    assert not (home / "bin" / "nvcc").is_symlink()


def test_nvcc_drops_fast_math_and_asks_for_cxx17(toolkit, wheels, tmp_path):
    home = cuda_home.prepare_cuda_home([wheels], toolkit, tmp_path)
    given = ["a file.cu", "-std=c++14", "--use_fast_math", "-O3", '-ccbin="g++"', "-use_fast_math", "-I/x y"]
    run = subprocess.run([home / "bin" / "nvcc", *given], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["a file.cu", "-std=c++17", "-O3", '-ccbin="g++"', "-I/x y"]


def test_again_changes_nothing_and_damage_is_repaired(toolkit, wheels, tmp_path):
    home = cuda_home.prepare_cuda_home([wheels], toolkit, tmp_path / "out")
    inode = home.stat().st_ino
    assert cuda_home.prepare_cuda_home([wheels], toolkit, tmp_path / "out") == home
    assert home.stat().st_ino == inode
    (home / "lib64" / "libcublas.so").unlink()
    assert cuda_home.prepare_cuda_home([wheels], toolkit, tmp_path / "out") == home
    assert (home / "lib64" / "libcublas.so").exists()
    assert os.listdir(tmp_path / "out") == [home.name]  # noqa: PTH208 - hidden files too, by name


def test_another_wheel_gives_another_home(toolkit, wheels, tmp_path):
    first = cuda_home.prepare_cuda_home([wheels], toolkit, tmp_path / "out")
    (wheels / "nvidia" / "cudnn" / "lib" / "libcudnn_graph.so.9").touch()
    assert cuda_home.prepare_cuda_home([wheels], toolkit, tmp_path / "out") != first


def test_headers_of_cub_from_a_wheel_are_put_on_nvccs_path(toolkit, wheels, tmp_path):
    source = toolkit / "include" / "cccl"
    source.rename(wheels / "nvidia" / "cu13" / "include" / "cccl")
    home = cuda_home.prepare_cuda_home([wheels], toolkit, tmp_path)
    run = subprocess.run([home / "bin" / "nvcc", "x.cu"], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[1:] == ["-isystem", str(wheels / "nvidia" / "cu13" / "include" / "cccl")]


def test_each_missing_piece_is_named(toolkit, wheels, tmp_path):
    (wheels / "nvidia" / "cudnn" / "include" / "cudnn.h").unlink()
    (wheels / "nvidia" / "cu13" / "lib" / "libcufft.so.12").unlink()
    (toolkit / "include" / "cccl" / "cub" / "cub.cuh").unlink()
    with pytest.raises(UserError) as error:
        cuda_home.prepare_cuda_home([wheels], toolkit, tmp_path / "out")
    message = str(error.value)
    assert "\n" not in message
    assert "cudnn.h, libcufft.so, cub/cub.cuh" in message
    assert "pip install nvidia-cuda-cccl nvidia-cudnn-cu13 nvidia-cufft" in message
    assert not (tmp_path / "out").exists()


def test_runtime_of_another_release_is_refused(toolkit, wheels, tmp_path):
    folder = wheels / "nvidia" / "cu13" / "lib"
    (folder / "libcudart.so.13").rename(folder / "libcudart.so.12")
    with pytest.raises(UserError, match=r"libcudart\.so\.13 \(for nvcc 13\.0\.88\)"):
        cuda_home.prepare_cuda_home([wheels], toolkit, tmp_path / "out")


def test_no_nvcc_or_a_broken_one(toolkit, monkeypatch, tmp_path):
    monkeypatch.setattr(cuda_home, "_wheel_folders", lambda sites: [])
    monkeypatch.setattr(Path, "is_file", lambda self: False)
    with pytest.raises(UserError, match="no CUDA compiler for Jittor"):
        cuda_home.find_nvcc_home()
    (toolkit / "bin" / "nvcc").write_text("#!/bin/sh\necho out of order >&2\nexit 1\n")
    with pytest.raises(UserError, match="out of order"):
        cuda_home.nvcc_version(toolkit)
    with pytest.raises(UserError, match="does not run"):
        cuda_home.nvcc_version(tmp_path / "nowhere")


def test_cuda_home_variable_decides(toolkit, monkeypatch):
    monkeypatch.setenv("CUDA_HOME", str(toolkit))
    assert cuda_home.find_nvcc_home() == toolkit


def test_environment_for_cuda(toolkit, wheels, monkeypatch, tmp_path):
    """All but the GPU: what Jittor would be told on a machine with one."""
    pytest.importorskip("numpy")
    if PathFinder.find_spec("jittor") is None:
        pytest.skip("Jittor is not installed here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("JITTOR_HOME", raising=False)
    monkeypatch.setenv("CUDA_HOME", str(toolkit))
    monkeypatch.syspath_prepend(str(wheels))
    monkeypatch.setattr(cuda_home, "find_gpu", lambda: "NVIDIA H200, sm_90, driver for CUDA 13.0")
    made = environment._describe("cuda", 2)
    variables = made.variables
    assert variables["nvcc_path"] == f"{made.facts['cuda_home']}/bin/nvcc"
    assert (variables["use_cutt"], variables["use_cutlass"], variables["use_nccl"]) == ("0", "0", "0")
    assert "-O3 -DcomputeMode=major -DclockRate=major" in variables["cc_flags"]
    assert variables["NVIDIA_TF32_OVERRIDE"] == "0"
    record = made.record()
    assert (record["fast_math"], record["tf32"], record["gpu"][:6]) == (False, False, "NVIDIA")
    (tmp_path / "home" / ".cache" / "jittor" / "jtcuda").mkdir()
    with pytest.raises(UserError, match="move that folder away"):
        environment._describe("cuda", 2)


def real_toolkit() -> Path:
    try:
        home = cuda_home.find_nvcc_home()
        cuda_home.nvcc_version(home)
    except UserError as error:
        pytest.skip(f"no nvcc that works: {error}")
    return home


def ptx(nvcc: Path, folder: Path) -> str:
    source = folder / "divide.cu"
    source.write_text("__global__ void divide(float* a) { a[0] = a[0] / a[1]; }\n")
    command = [
        nvcc,
        "-std=c++14",
        "--use_fast_math",
        "-arch=compute_90",
        "-ptx",
        source,
        "-o",
        folder / "divide.ptx",
    ]
    subprocess.run(command, check=True, capture_output=True)
    return (folder / "divide.ptx").read_text()


def test_real_nvcc_divides_exactly_through_the_home(wheels, tmp_path):
    """The toolkit is real, the libraries are fake: this kernel needs none of them."""
    toolkit = real_toolkit()
    if not cuda_home.nvcc_version(toolkit).startswith("13."):
        pytest.skip("the nvcc here is not CUDA 13's, which the fake libraries imitate")
    home = cuda_home.prepare_cuda_home([wheels], toolkit, tmp_path / "out")
    assert "div.rn.f32" in ptx(home / "bin" / "nvcc", tmp_path)
    assert "div.approx" in ptx(toolkit / "bin" / "nvcc", tmp_path)  # what it would be


def test_real_wheels_compile_for_sm_90(tmp_path):
    """Every header that the home changes, in one file, compiled and linked against the real libraries."""
    toolkit = real_toolkit()
    given = os.environ.get("TWIN_DETR_CUDA_WHEELS")
    try:
        home = cuda_home.prepare_cuda_home([Path(given)] if given else None, toolkit, tmp_path / "out")
    except UserError as error:
        pytest.skip(f"no CUDA wheels (a folder with them can be named in TWIN_DETR_CUDA_WHEELS): {error}")
    headers = ("cub/cub.cuh", "cudnn.h", "npp.h", "cublas_v2.h", "curand.h", "cufft.h", "cusparse.h")
    source = tmp_path / "all.cu"
    source.write_text(
        "".join(f"#include <{name}>\n" for name in headers)
        + "__global__ void halve(float* a) { a[0] = a[0] / 2 + cub::LaneId(); }\n"
        + "int host() { return cudnnSetRNNDescriptor_v6(1, 2) + cub::Max()(1, 2) + (int)cudnnGetVersion(); }\n"
    )
    folders = [f"-I{home / 'include'}", f"-L{home / 'lib64'}", "-lcublas", "-lcudnn", "-o", tmp_path / "all.so"]
    command = [home / "bin" / "nvcc", source, "-std=c++14", "-shared", "-Xcompiler", "-fPIC", "-w"]
    command += ["--cudart=shared", "-arch=compute_90", "-code=sm_90", *folders]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
