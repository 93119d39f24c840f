"""The machine and the code of a run, for its records."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from frameworks.threads import cores

ROOT = Path(__file__).resolve().parents[2]
# Installed without a checkout, ROOT is a folder of the interpreter: runs then go below the present folder.
GENERATED = (ROOT if (ROOT / "pyproject.toml").is_file() else Path.cwd()) / "reports" / "generated"
PACKAGES = ("numpy", "pillow", "pycocotools", "safetensors", "scipy")
# Environment variables that change results or speed.
FLAGS = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    *("CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG", "PYTHONHASHSEED"),
)


def host_record() -> dict[str, Any]:
    """Platform, processor, memory, versions, flags and the git commit, as plain values."""
    return {
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cores": cores(),
        "memory_gib": _memory_gib(),
        "python": platform.python_version(),
        "git_commit": _git("rev-parse", "HEAD") or "unknown",
        "git_dirty": _dirty(),
        "versions": {name: package_version(name) for name in PACKAGES},
        "flags": {name: os.environ[name] for name in FLAGS if name in os.environ},
    }


def now() -> str:
    """The present time in UTC, as records write it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None


def package_version(package: str) -> str:
    """The version of an installed package, or "not installed"."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _dirty() -> bool | str:
    status = _git("status", "--porcelain")
    return "unknown" if status is None else bool(status)


def _git(*arguments: str) -> str | None:
    """Output of a git command, or None where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
