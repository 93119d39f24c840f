"""Jittor's environment: what must be set before it is imported, checked, recorded and warmed up.

A process that uses Jittor starts with

    jt = import_jittor("cpu")

or, to record what it runs on, with `environment = prepare("cpu")`, `warm_up(environment)` and then the import.
While Jittor later compiles kernels (the first steps on a cold cache take minutes) it writes one line,
"Compiling Operators(3/20) used: ... eta: ...", to stderr, also under log_silent; `count_kernels` gives a caller
a number to show instead.
"""

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
from pathlib import Path
from typing import Any

from frameworks.errors import UserError
from frameworks.jittor_rtdetr.runtime import checks
from frameworks.jittor_rtdetr.runtime import cuda_home as cuda
from frameworks.jittor_rtdetr.runtime import warm_up as warming
from frameworks.jittor_rtdetr.runtime.onednn_links import link_onednn
from frameworks.jittor_rtdetr.runtime.probe import MARK

DEVICES = ("cpu", "cuda")
# Jittor adds -Ofast unless the flags hold an -O of their own. -Ofast breaks IEEE rules (x != x is False for NaN,
# denormals are flushed in the whole process, NumPy's included) and is no faster.
CPU_FLAGS = " -O3 "
# CUDA 13 took two fields out of cudaDeviceProp that Jittor names.
CUDA_FLAGS = " -O3 -DcomputeMode=major -DclockRate=major "
# Jittor reads any of its flags from a variable of that name: a stray one in a user's shell would change results.
STRAY = (
    "debug", "cuda_debug", "enable_lto", "conv_opt", "amp_reg", "use_cuda", "lazy_execution", "use_data_gz",
    "DISABLE_MULTIPROCESSING", "SKEY", "mkl_include_path", "mkl_lib_path", "cuda_archs",
)  # fmt: skip
# Once Jittor is loaded, a change of one of these has no effect, or a half one.
FIXED_AT_IMPORT = ("cc_flags", "use_mkl", "use_mpi", "nvcc_path", "OMP_NUM_THREADS")


@dataclasses.dataclass(frozen=True)
class JittorEnvironment:
    """What a run with Jittor ran on. `record()` gives it as plain values for a result file."""

    device: str
    threads: int
    python_version: str
    numpy_version: str
    jittor_version: str
    compiler_path: str
    compiler_version: str
    cc_flags: str
    cache_home: Path
    cache_home_source: str
    state_folder: Path
    cache_name: str
    onednn: Path | None
    cuda_home: Path | None
    gpu: str | None
    fast_math: bool
    tf32: bool
    key: str
    variables: tuple[tuple[str, str], ...]

    def record(self) -> dict[str, Any]:
        plain = {name: str(v) if isinstance(v, Path) else v for name, v in dataclasses.asdict(self).items()}
        plain["variables"] = dict(self.variables)
        return plain


_prepared: JittorEnvironment | None = None


def prepare(device: str = "cpu", threads: int | None = None) -> JittorEnvironment:
    """Check the machine and set the variables. Call it before the first import of Jittor in the process."""
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
    _prepared = environment
    return environment


def warm_up(environment: JittorEnvironment, progress: warming.Progress | None = None) -> dict[str, Any]:
    """Compile Jittor if that has not been done, and check what it computes; says on stderr what it does.

    The result names the compiled files' folder (cache_path), the checks, and the seconds that it took then.
    """
    if "jittor" in sys.modules:  # then it is compiled
        return {"cache_path": str(_cache_path(environment)), "checks": {}}
    return warming.warm_up(environment.state_folder, environment.key, environment.device, progress)


def import_jittor(device: str = "cpu", threads: int | None = None, progress: warming.Progress | None = None) -> Any:
    """Prepare, warm up, import; float64 stays float64, and work goes to the device asked for."""
    environment = prepare(device, threads)
    warm_up(environment, progress)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Jittor's sources; a test run may turn warnings into errors
            jt = importlib.import_module("jittor")
    except SystemExit as error:
        raise UserError(
            "Jittor rebuilt a part of itself and ended its import: run the same command again"
        ) from error
    if threading.current_thread() is threading.main_thread():
        # Jittor's handler ends the whole process, without a word, when any child of it dies by a signal.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if device == "cuda" and not jt.has_cuda:
        raise UserError("Jittor found no GPU although device cuda was asked for: check nvidia-smi, or use cpu")
    jt.flags.auto_convert_64_to_32 = 0
    jt.flags.use_cuda = int(device == "cuda")
    return jt


def count_kernels(environment: JittorEnvironment) -> int:
    """Compiled kernels in the cache; grows while Jittor compiles. Cheap enough to ask for each second."""
    folder = _cache_path(environment)
    try:
        with os.scandir(folder / "jit") as entries:
            return sum(entry.name.endswith(".so") for entry in entries)
    except OSError:
        return 0


def _cache_path(environment: JittorEnvironment) -> Path:
    if "jittor" in sys.modules:
        return Path(sys.modules["jittor"].flags.cache_path)
    stamp = environment.state_folder / f"ready-{environment.device}-{environment.key}.json"
    content = warming.read_stamp(stamp)
    return Path(content["cache_path"]) if content else environment.state_folder / "not-compiled-yet"


def _threads(threads: int | None) -> int:
    if threads is None:
        given = os.environ.get("OMP_NUM_THREADS", "")
        threads = int(given) if given.isdigit() and int(given) > 0 else len(os.sched_getaffinity(0))
    if threads < 1:
        raise UserError(f"{threads} threads for Jittor: expected 1 or more")
    return threads


def _describe(device: str, threads: int) -> JittorEnvironment:
    checks.check_platform()
    checks.check_python(sys.version_info[:2])
    numpy_version = checks.numpy_version()
    jittor_version, jittor_folder = checks.jittor_version()
    compiler_path, compiler_version = checks.compiler()
    include = checks.python_include()
    home, state, source = checks.state_folder()
    onednn = link_onednn(home, platform.machine()) if device == "cpu" else None
    gpu = cuda.find_gpu() if device == "cuda" else None
    toolkit = _cuda_home(home, state) if device == "cuda" else None
    cc_flags = CPU_FLAGS if toolkit is None else CUDA_FLAGS
    own = {
        "cc_path": compiler_path,
        "cc_flags": cc_flags,
        "kernel_flags": "",
        "nvcc_flags": "",
        "python_config_path": str(checks.python_config_script(state, include)),
        **_device_variables(toolkit),
    }
    # Jittor's own path has its version, the compiler, Python, machine and installation; this adds the rest. Without
    # a name, Jittor takes the git branch around the installation. The last part gives this cache a lock of its own.
    own["cache_name"] = f"{checks.STATE_NAME}/{device}-{_digest(own)[:8]}/cache"
    machine = [platform.platform(), platform.node(), _processor(), platform.python_version(), str(gpu)]
    versions = [jittor_version, str(jittor_folder), compiler_version, numpy_version, str(onednn), MARK]
    return JittorEnvironment(
        device=device, threads=threads, python_version=platform.python_version(), numpy_version=numpy_version,
        jittor_version=jittor_version, compiler_path=compiler_path, compiler_version=compiler_version,
        cc_flags=cc_flags.strip(), cache_home=home, cache_home_source=source, state_folder=state,
        cache_name=own["cache_name"], onednn=onednn, cuda_home=toolkit, gpu=gpu, fast_math=False, tf32=False,
        key=_digest([own, machine, versions])[:16],
        variables=(*own.items(), *_process_variables(threads, home).items()),
    )  # fmt: skip


def _process_variables(threads: int, home: Path) -> dict[str, str]:
    """What does not change the compiled files, and so is no part of the cache's name or the stamp's key."""
    cores = len(os.sched_getaffinity(0))
    variables = {
        "OMP_NUM_THREADS": str(threads),
        # Jittor runs a compiler for every 3 GiB of memory, up to 16: on 2 cores, 7 took 13 to 40 % longer than 2.
        # With one, it would not say how far it is.
        "use_parallel_op_compiler": str(min(16, max(2, cores))),
    }
    if os.environ.get("JITTOR_HOME"):
        variables["JITTOR_HOME"] = str(home)  # absolute: the warm-up runs in another folder
    return variables


def _device_variables(toolkit: Path | None) -> dict[str, str]:
    common = {
        "use_mpi": "0",  # it would compile MPI operators at import wherever mpicc is installed
        "FIX_TORCH_ERROR": "0",  # it would import torch
        "log_silent": "1",
        "gdb_path": "",
        "use_tensorcore": "0",
        "auto_convert_64_to_32": "0",
    }
    if toolkit is None:
        # An empty path keeps Jittor from any nvcc that it finds on the machine, and from downloading CUDA.
        return {**common, "nvcc_path": "", "use_mkl": "1"}
    return {
        **common,
        "nvcc_path": str(toolkit / "bin" / "nvcc"),
        "use_mkl": "0",
        "use_cutt": "0",  # these three would be downloaded at import
        "use_cutlass": "0",
        "use_nccl": "0",
        # Jittor leaves cuDNN's default math on, which is TF32 for float32 convolutions; this reaches cuBLAS too.
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
    wanted = dict(environment.variables)
    current = dict(_prepared.variables) if _prepared else dict(os.environ)
    names = FIXED_AT_IMPORT if _prepared is None else tuple(n for n in wanted if n != "log_silent")
    different = [n for n in names if current.get(n) != wanted[n]]
    if different:
        listed = ", ".join(f"{n} is {current.get(n)!r}, expected {wanted[n]!r}" for n in different)
        raise UserError(
            f"Jittor was imported with other settings ({listed}) and can't change them: start a new process "
            "and call prepare() before the first import of jittor"
        )


def _processor() -> str:
    """Compiled code is for this very processor (-march=native); a home folder may be shared between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[-1].strip() for line in lines if line.startswith("model name")), "")


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
