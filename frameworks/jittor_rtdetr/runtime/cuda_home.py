"""Assemble a CUDA folder that Jittor accepts from an nvcc and pip's NVIDIA wheels, by links.

Jittor expects one folder with bin/nvcc, include and lib64, as CUDA 11's installer made it. pip distributes the same
files over several packages, without the unversioned library names, and CUDA 13 and cuDNN 9 removed names that
Jittor's sources use. No file is changed: the folder has links and the small files of cuda_shims.py.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from frameworks.errors import UserError
from frameworks.jittor_rtdetr.runtime import cuda_shims

# The headers that Jittor includes, and the package of CUDA 13 that has each. Below, the libraries that it loads.
HEADERS = {
    "cuda_runtime.h": "nvidia-cuda-runtime",
    "cublas_v2.h": "nvidia-cublas",
    "cudnn.h": "nvidia-cudnn-cu13",
    "curand.h": "nvidia-curand",
    "cufft.h": "nvidia-cufft",
    "cusparse.h": "nvidia-cusparse",
}
LIBRARIES = {
    "libcudart": "nvidia-cuda-runtime",
    "libcublas": "nvidia-cublas",
    "libcublasLt": "nvidia-cublas",
    "libcudnn": "nvidia-cudnn-cu13",
    "libcurand": "nvidia-curand",
    "libcufft": "nvidia-cufft",
    "libcusparse": "nvidia-cusparse",
}
# Names of cuDNN 8, which Jittor loads one by one, and the libraries of cuDNN 9 with the same functions.
CUDNN_NAMES = {
    "libcudnn_ops_infer": "libcudnn_ops",
    "libcudnn_ops_train": "libcudnn_ops",
    "libcudnn_cnn_infer": "libcudnn_cnn",
    "libcudnn_cnn_train": "libcudnn_cnn",
}
MANIFEST = "manifest.json"


def prepare_cuda_home(site_packages: list[Path] | None, nvcc_home: Path | None, out: Path) -> Path:
    """Path of the CUDA folder, ``cuda_home-HASH`` in ``out``; made, or repaired, unless it is complete.

    The hash covers everything that the folder is made from. Another nvcc or wheel therefore gives another folder
    and, because Jittor's cache depends on the path of nvcc, other compiled files.

    Args:
        site_packages: folders with pip's packages; None: the search path of this interpreter.
        nvcc_home: the CUDA toolkit; None: see ``find_nvcc_home``.

    Raises:
        UserError: no nvcc, a missing header or library (with the package that has it), or an unwritable folder.
    """
    nvcc_home = nvcc_home or find_nvcc_home()
    version = nvcc_version(nvcc_home)
    roots = _wheel_folders(site_packages)
    includes = [p for p in (nvcc_home / "include", *(r / "include" for r in roots)) if p.is_dir()]
    # The wheels' libraries first: they are of one release with the headers that only wheels have.
    libraries = [p for p in (*(r / "lib" for r in roots), nvcc_home / "lib64") if p.is_dir()]
    links = {**_include_links(includes), **_library_links(libraries)}
    _require_complete(links, includes, version)
    files = _shims(links, nvcc_home, includes)
    content = {"links": {k: str(v) for k, v in sorted(links.items())}, "files": files, "nvcc": version}
    text = json.dumps(content, indent=1)
    home = out / f"cuda_home-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    if not _complete(home, text, links):
        _build(home, links, files, text)
    return home


def find_nvcc_home() -> Path:
    """Folder of a CUDA toolkit: CUDA_HOME, CUDA_PATH, /usr/local/cuda, beside an nvcc on PATH, or a wheel.

    Raises UserError if there is none. An nvcc on PATH may be a script that only calls the real one.
    """
    on_path = shutil.which("nvcc")
    candidates = [Path(os.environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    candidates.append(Path("/usr/local/cuda"))
    if on_path:
        candidates.append(Path(on_path).resolve().parent.parent)
    candidates += _wheel_folders(None)
    for home in candidates:
        # The header distinguishes a toolkit from a folder that only has a script named nvcc.
        if (home / "bin" / "nvcc").is_file() and (home / "include" / "cuda_runtime.h").is_file():
            return home
    raise UserError(
        "no CUDA compiler for Jittor: expected bin/nvcc and include/cuda_runtime.h in CUDA_HOME, /usr/local/cuda "
        "or beside an nvcc on PATH; install the CUDA 13 toolkit, set CUDA_HOME, or use device cpu"
    )


def nvcc_version(nvcc_home: Path) -> str:
    """Version as "13.0.88". Raises UserError if nvcc does not run."""
    nvcc = nvcc_home / "bin" / "nvcc"
    try:
        result = subprocess.run([str(nvcc), "--version"], capture_output=True, text=True, check=False)
    except OSError as error:
        raise UserError(f"{nvcc} does not run ({error.strerror}): set CUDA_HOME to a CUDA 13 toolkit") from error
    match = re.search(r"V(\d+\.\d+\.\d+)", result.stdout)
    if result.returncode != 0 or match is None:
        reason = ((result.stderr or result.stdout).strip().splitlines() or ["no output"])[-1]
        raise UserError(f"{nvcc} --version failed ({reason}): set CUDA_HOME to a CUDA 13 toolkit")
    return match.group(1)


def find_gpu() -> str:
    """Name, architecture and driver of the first GPU.

    Raises UserError if there is none; Jittor's import would abort the process.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise UserError("no NVIDIA driver on this machine (libcuda.so.1 does not load): use device cpu") from error
    count, version, device = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status != 0 or count.value < 1:
        raise UserError(
            f"no usable NVIDIA GPU (CUDA error {status}, {count.value} devices): check nvidia-smi and "
            "CUDA_VISIBLE_DEVICES, or use device cpu"
        )
    name = ctypes.create_string_buffer(100)
    major, minor = ctypes.c_int(), ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(version))
    driver.cuDeviceGet(ctypes.byref(device), 0)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceGetAttribute(ctypes.byref(major), 75, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
    cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return f"{name.value.decode()}, sm_{major.value}{minor.value}, driver for CUDA {cuda}"


def _wheel_folders(site_packages: list[Path] | None) -> list[Path]:
    """nvidia/cu13, nvidia/cudnn and the like, in the order of the search path."""
    sites = [Path(p) for p in sys.path if p] if site_packages is None else site_packages
    folders = [folder for site in sites for folder in sorted((site / "nvidia").glob("*"))]
    return [folder for folder in folders if (folder / "include").is_dir() or (folder / "lib").is_dir()]


def _include_links(folders: list[Path]) -> dict[str, Path]:
    links: dict[str, Path] = {}
    for folder in folders:
        for entry in sorted(folder.iterdir()):
            links.setdefault(f"include/{entry.name}", entry.absolute())
    return links


def _library_links(folders: list[Path]) -> dict[str, Path]:
    links: dict[str, Path] = {}
    for folder in folders:
        for entry in sorted(folder.glob("*.so*")):
            links.setdefault(f"lib64/{entry.name}", entry.absolute())
            links.setdefault(f"lib64/{entry.name.split('.so')[0]}.so", entry.absolute())
    for old, new in CUDNN_NAMES.items():
        if f"lib64/{new}.so" in links:
            links.setdefault(f"lib64/{old}.so", links[f"lib64/{new}.so"])
    return links


def _require_complete(links: dict[str, Path], includes: list[Path], version: str) -> None:
    major = version.split(".")[0]
    missing = {name: package for name, package in HEADERS.items() if f"include/{name}" not in links}
    missing |= {f"{n}.so": package for n, package in LIBRARIES.items() if f"lib64/{n}.so" not in links}
    if "libcudart.so" not in missing and f"lib64/libcudart.so.{major}" not in links:
        missing[f"libcudart.so.{major} (for nvcc {version})"] = LIBRARIES["libcudart"]
    if _cccl(includes) is None and "include/cub" not in links:
        missing["cub/cub.cuh"] = "nvidia-cuda-cccl"
    if missing:
        packages = " ".join(sorted(set(missing.values())))
        raise UserError(f"CUDA files that Jittor needs are missing: {', '.join(missing)}; pip install {packages}")


def _cccl(includes: list[Path]) -> Path | None:
    return next((p / "cccl" for p in includes if (p / "cccl" / "cub" / "cub.cuh").is_file()), None)


def _shims(links: dict[str, Path], nvcc_home: Path, includes: list[Path]) -> dict[str, str]:
    """Text of the files to write, by path in the folder; links that they replace are removed from ``links``."""
    links["include/cudnn_real.h"] = links.pop("include/cudnn.h")
    extra = ""
    files = {"include/cudnn.h": cuda_shims.CUDNN}
    if "include/npp.h" not in links:
        files["include/npp.h"] = cuda_shims.NPP
    cccl = _cccl(includes)
    if "include/cub" not in links and cccl is not None:
        files["include/cub/cub.cuh"] = cuda_shims.CUB
        if cccl.parent != nvcc_home / "include":  # nvcc searches only its own include folder for it
            extra = f" -isystem '{cccl}'"
    files["bin/nvcc"] = cuda_shims.NVCC.format(nvcc=nvcc_home / "bin" / "nvcc", extra=extra)
    return files


def _complete(home: Path, text: str, links: dict[str, Path]) -> bool:
    manifest = home / MANIFEST
    if not manifest.is_file() or manifest.read_text(encoding="utf-8") != text:
        return False
    return os.access(home / "bin" / "nvcc", os.X_OK) and all((home / name).exists() for name in links)


def _build(home: Path, links: dict[str, Path], files: dict[str, str], manifest: str) -> None:
    """Build in a folder beside it and rename that, so that another process sees a complete folder or none."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=".cuda_home-") as folder:
        new = Path(folder) / "new"
        for name, target in links.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).symlink_to(target)
        for name, text in files.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_text(text, encoding="utf-8")
        (new / "bin" / "nvcc").chmod(0o755)
        (new / MANIFEST).write_text(manifest, encoding="utf-8")
        if home.exists():  # incomplete or damaged
            with contextlib.suppress(FileNotFoundError):
                home.rename(Path(folder) / "old")
        with contextlib.suppress(FileExistsError, OSError):  # another process made the same folder first
            new.rename(home)
    if not _complete(home, manifest, links):
        raise UserError(f"the CUDA home {home} could not be made: check the folder's permissions and free space")
