"""Set and check Jittor's environment variables, then import Jittor.

A process that uses Jittor starts with ``jt = import_jittor("cpu")``; ``prepare("cpu").record()`` describes the
environment. While Jittor later compiles kernels (the first steps on a cold cache take minutes), it writes one line
with its progress to standard error.
"""

import contextlib
import dataclasses
import hashlib
import importlib
import json
import os
import platform
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from frameworks.errors import UserError
from frameworks.jittor_rtdetr.runtime import checks, compiler_script
from frameworks.jittor_rtdetr.runtime import cuda_home as cuda
from frameworks.jittor_rtdetr.runtime.onednn_links import link_onednn
from frameworks.jittor_rtdetr.runtime.probe import MARK
from frameworks.jittor_rtdetr.runtime.shared_copy import share_jittor
from frameworks.jittor_rtdetr.runtime.warm_up import SETTINGS, warm_up
from frameworks.threads import cores, thread_count

DEVICES = ("cpu", "cuda")
# Jittor adds -Ofast unless the flags contain another -O. -Ofast breaks IEEE rules (x != x is False for NaN,
# denormals are flushed in the whole process, NumPy's included) and is no faster.
CPU_FLAGS = " -O3 "
# Jittor uses two fields of cudaDeviceProp that CUDA 13 has no longer.
CUDA_FLAGS = " -O3 -DcomputeMode=major -DclockRate=major "
# Jittor reads each of its flags from a variable of that name, so one left in a user's shell would change results.
STRAY = (
    *("debug", "cuda_debug", "enable_lto", "conv_opt", "amp_reg", "use_cuda", "lazy_execution", "use_data_gz"),
    *("DISABLE_MULTIPROCESSING", "SKEY", "mkl_include_path", "mkl_lib_path", "cuda_archs"),
)
# Changing one of these after Jittor is imported has no effect, or only part of its effect.
FIXED_AT_IMPORT = ("cc_flags", "use_mkl", "use_mpi", "nvcc_path", "OMP_NUM_THREADS")


@dataclasses.dataclass(frozen=True)
class JittorEnvironment:
    """State folder, cache key, environment variables and recorded facts of a process that uses Jittor."""

    state_folder: Path
    package: Path  # the copy of Jittor to import
    script: Path | None  # compiles in place of g++; None: g++ itself
    key: str  # hash of everything that the compiled files depend on
    variables: dict[str, str]
    facts: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """Device, threads, versions, flags, folders and variables as plain values, for a result file."""
        return self.facts | {"key": self.key, "variables": self.variables}


_prepared: JittorEnvironment | None = None


def prepare(device: str = "cpu", threads: int | None = None) -> JittorEnvironment:
    """Check the machine and set the variables that Jittor reads when it is imported.

    Args:
        device: "cpu" or "cuda".
        threads: number of CPU threads; None: ``OMP_NUM_THREADS``, or the cores that this process may use.

    Raises:
        UserError: something that Jittor needs is missing or unfit, or Jittor was imported with other settings.
    """
    global _prepared
    if device not in DEVICES:
        raise UserError(f"device {device!r} is unknown to Jittor's side: expected {' or '.join(DEVICES)}")
    environment = _describe(device, _threads(threads))
    if "jittor" in sys.modules or "jittor_utils" in sys.modules:
        _require_same(environment)
        return _prepared or environment
    for name in STRAY:
        os.environ.pop(name, None)
    os.environ.update(environment.variables)
    sys.path.insert(0, str(environment.package))
    _prepared = environment
    return environment


def import_jittor(device: str = "cpu", threads: int | None = None) -> Any:
    """Prepare, compile if that has not been done, and import Jittor. Returns the module.

    float64 stays float64, and operators run on ``device``. Arguments and errors are those of ``prepare``; a
    compilation that fails or computes wrongly is a UserError, too.
    """
    environment = prepare(device, threads)
    if "jittor" not in sys.modules:
        warm_up(environment.state_folder, environment.key, device, script=environment.script)
        if environment.script and (problem := compiler_script.problem(environment.script.parent)):
            print(problem, file=sys.stderr, flush=True)
    try:
        with _home(environment.state_folder / SETTINGS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Jittor's sources; a test run may turn warnings into errors
            jt = importlib.import_module("jittor")
    except SystemExit as error:
        raise UserError(
            "Jittor rebuilt a part of itself and ended its import: run the same command again"
        ) from error
    if threading.current_thread() is threading.main_thread():
        # Jittor's handler ends the whole process without a message when a signal kills any of its children.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if device == "cuda" and not jt.has_cuda:
        raise UserError("Jittor found no GPU although device cuda was asked for: check nvidia-smi, or use cpu")
    jt.flags.auto_convert_64_to_32 = 0
    jt.flags.use_cuda = int(device == "cuda")
    if environment.script:
        jt.flags.python_path = str(environment.script)  # it would run utils/asm_tuner.py around each compilation
    return jt


@contextlib.contextmanager
def _home(folder: Path) -> Iterator[None]:
    """Jittor writes JITTOR_HOME into a file in the home folder, from where it would change later runs."""
    before = os.environ.get("HOME")
    os.environ["HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["HOME"]
        else:
            os.environ["HOME"] = before


def _threads(given: int | None) -> int:
    if given is not None and given < 1:
        raise UserError(f"{given} threads for Jittor: expected 1 or more")
    return given or thread_count()


def _describe(device: str, threads: int) -> JittorEnvironment:
    software, installed, include = _software()
    home, state = checks.state_folder()
    package = share_jittor(installed, software["jittor_version"], state)
    onednn = link_onednn(home, platform.machine()) if device == "cpu" else None
    gpu, toolkit = (cuda.find_gpu(), _cuda_home(home, state)) if device == "cuda" else (None, None)
    machine = [platform.platform(), platform.node(), _processor(), str(gpu)]
    own = _device_variables(toolkit) | {"python_config_path": str(checks.python_config_script(state, include))}
    depends_on = [own, machine, software, package.name, MARK]
    script = None
    if device == "cpu":
        script = compiler_script.write_compiler_script(state, software["compiler_path"], depends_on)
    own["cc_path"] = str(script or software["compiler_path"])
    # Jittor's own path has its version, the compiler, Python, machine and package; this adds the rest. Without a
    # name, Jittor takes the git branch around the package. The last part gives this cache a lock of its own.
    own["cache_name"] = f"{checks.STATE_NAME}/{device}-{_digest(own)[:8]}/cache"
    facts = software | {
        "device": device,
        "threads": threads,
        "precompiled_headers": script is not None,
        "cc_flags": own["cc_flags"].strip(),
        "cache_home": str(home),
        "state_folder": str(state),
        "cache_name": own["cache_name"],
        "onednn": str(onednn) if onednn else None,
        "cuda_home": str(toolkit) if toolkit else None,
        "gpu": gpu,
        "fast_math": False,
        "tf32": False,
    }
    library = [onednn.name, onednn.stat().st_size] if onednn else None  # not its path: each environment has its own
    key, variables = _digest([own, depends_on, library])[:16], own | _process_variables(threads, home)
    return JittorEnvironment(state, package, script, key, variables, facts)


def _software() -> tuple[dict[str, str], Path, Path]:
    """Checked versions of everything that Jittor runs on, the folder of Jittor, and that of Python.h."""
    checks.check_platform()
    checks.check_python(sys.version_info[:2])
    numpy_version = checks.numpy_version()
    jittor_version, installed = checks.jittor_version()
    compiler_path, compiler_version = checks.compiler()
    versions = {
        "python_version": platform.python_version(),
        "numpy_version": numpy_version,
        "jittor_version": jittor_version,
        "compiler_path": compiler_path,
        "compiler_version": compiler_version,
    }
    return versions, installed, checks.python_include()


def _process_variables(threads: int, home: Path) -> dict[str, str]:
    """Variables that do not change the compiled files, so that cache name and stamp do not depend on them."""
    return {
        "OMP_NUM_THREADS": str(threads),
        "JITTOR_HOME": str(home),  # given always and absolute: Jittor would take that of an earlier run
        # Jittor runs a compiler for every 3 GiB of memory, up to 16: on 2 cores, 7 took 13 to 40 % longer than 2.
        # A single one shows no progress.
        "use_parallel_op_compiler": str(min(16, max(2, cores()))),
    }


def _device_variables(toolkit: Path | None) -> dict[str, str]:
    """Flags of the CPU (no toolkit) or of CUDA; Jittor compiles other files for other values."""
    common = {
        "kernel_flags": "",
        "nvcc_flags": "",
        "use_mpi": "0",  # it would compile MPI operators at import wherever mpicc is installed
        "FIX_TORCH_ERROR": "0",  # it would import torch
        "log_silent": "1",
        "gdb_path": "",
        "use_tensorcore": "0",
        "auto_convert_64_to_32": "0",
    }
    if toolkit is None:
        # With an empty path Jittor neither uses an nvcc that it finds on the machine nor downloads CUDA.
        return {**common, "cc_flags": CPU_FLAGS, "nvcc_path": "", "use_mkl": "1"}
    return {
        **common,
        "cc_flags": CUDA_FLAGS,
        "nvcc_path": str(toolkit / "bin" / "nvcc"),
        "use_mkl": "0",
        "use_cutt": "0",  # these three would be downloaded at import
        "use_cutlass": "0",
        "use_nccl": "0",
        # cuDNN's default, which Jittor keeps, is TF32 for float32 convolutions; this switches it off in cuBLAS too.
        "NVIDIA_TF32_OVERRIDE": "0",
    }


def _cuda_home(home: Path, state: Path) -> Path:
    own = home / ".cache" / "jittor" / "jtcuda"
    if own.is_dir():
        raise UserError(
            f"Jittor's own CUDA download in {own} makes it restart the process or mix toolkits: "
            "move that folder away"
        )
    return cuda.prepare_cuda_home(None, None, state)


def _require_same(environment: JittorEnvironment) -> None:
    wanted = environment.variables
    current = _prepared.variables if _prepared else dict(os.environ)
    names = FIXED_AT_IMPORT if _prepared is None else tuple(n for n in wanted if n != "log_silent")
    different = [n for n in names if current.get(n) != wanted[n]]
    if different:
        listed = ", ".join(f"{n} is {current.get(n)!r}, expected {wanted[n]!r}" for n in different)
        raise UserError(
            f"Jittor was imported with other settings ({listed}) and can't change them: start a new process "
            "and call prepare() before the first import of jittor"
        )


def _processor() -> str:
    """Model name of the processor: code is compiled with -march=native, and machines may share a home folder."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[-1].strip() for line in lines if line.startswith("model name")), "")


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
