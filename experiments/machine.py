"""Look at everything that the project needs from a machine, one line each. Nothing is made, changed or compiled."""

import fcntl
import importlib.metadata
import locale
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from experiments.command import COMPLETE, FAILED, Parser
from experiments.runs.host import host_record
from experiments.runs.list_command import size
from experiments.runs.overview import disk_usage
from frameworks.errors import UserError
from frameworks.files import cache_folder
from frameworks.jittor_rtdetr.runtime import checks, cuda_home, onednn_links
from frameworks.threads import cores, thread_count

OK, HINT, MISSING = " ", "!", "x"
CACHE_BYTES = 1_000_000_000  # what Jittor compiles for one run, with room
MEMORY_GIB = 4.0  # both twins' peaks in r18vd at 640 px stay below it
EXTRAS = {"transformers": "huggingface", "onnxruntime": "onnx", "tensorboardX": "tensorboard"}


@dataclass(frozen=True)
class Line:
    """One finding: a mark (OK, HINT or MISSING), its subject, and what was found or what helps."""

    mark: str
    subject: str
    text: str


def start(arguments: list[str] | None) -> int:
    """Print every line; returns the exit status. Raises UserError for wrong arguments."""
    Parser(prog="python -m experiments.check", description="What this machine can do, and lacks.").parse_args(
        arguments
    )
    lines = list(find_lines())
    print("\n".join(f"{line.mark} {line.subject:<14} {line.text}" for line in lines))
    missing = [line.subject for line in lines if line.mark == MISSING]
    print(
        f"\nrun.py and parity cannot work here: {', '.join(missing)}" if missing else "\nrun.py and parity can work"
    )
    return FAILED if missing else COMPLETE


def find_lines() -> Iterator[Line]:
    """Every finding, what is needed first."""
    yield _asked("platform", lambda: (checks.check_platform(), platform.platform())[1])
    yield _asked("python", _python)
    yield from _packages()
    yield _asked("jittor", lambda: checks.jittor_version()[0])
    yield _asked("g++", lambda: "{1}, {0}".format(*checks.compiler()))
    yield _asked("Python.h", lambda: str(checks.python_include()))
    yield _asked("oneDNN", _onednn)
    yield _asked("GPU", _gpu, otherwise=OK)
    yield from _caches()
    host = host_record()
    yield Line(OK, "processor", f"{host['cpu']}, {cores()} cores for this process, {_threads()}")
    yield _memory(host["memory_gib"])
    yield _locale()
    yield from _extras()


def _asked(subject: str, question: Callable[[], str], otherwise: str = MISSING) -> Line:
    """A line with the answer, or with the reason why there is none."""
    try:
        return Line(OK, subject, question())
    except (UserError, OSError) as error:
        return Line(otherwise, subject, " ".join(str(error).split()))


def _python() -> str:
    checks.check_python(sys.version_info[:2])
    return f"{platform.python_version()}, {sys.executable}"


def _packages() -> Iterator[Line]:
    """NumPy, which must be old enough, and every package that this project is installed with."""
    yield _asked("numpy", checks.numpy_version)
    try:
        required = importlib.metadata.requires("twin-detr") or []
    except importlib.metadata.PackageNotFoundError:
        yield Line(HINT, "twin-detr", "is not installed, so that its packages are not known: pip install -e .")
        return
    names = [re.split(r"[^\w.-]", each)[0] for each in required if "extra ==" not in each]
    missing = [name for name in names if _version(name) is None]
    if missing:
        yield Line(
            MISSING, "packages", f"{', '.join(missing)} not installed for {sys.executable}: pip install -e ."
        )
    else:
        yield Line(OK, "packages", f"all {len(names)}, torch {_version('torch')} among them")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _onednn() -> str:
    home, _ = checks.jittor_home()
    folder = home / ".cache" / "jittor" / "mkl" / onednn_links.FOLDER_NAMES.get(platform.machine(), "")
    return str(folder if onednn_links.usable(folder) else onednn_links.find_package()[1])


def _gpu() -> str:
    """What a GPU is called and which CUDA there is; a machine without one trains on its CPU."""
    try:
        gpu = cuda_home.find_gpu()
    except UserError as error:
        raise UserError(f"none, --device cpu works ({error})") from None
    toolkit = cuda_home.find_nvcc_home()
    return f"{gpu}; nvcc {cuda_home.nvcc_version(toolkit)} in {toolkit}"


def _caches() -> Iterator[Line]:
    """Jittor's cache and this project's: where, how large, whether they can be written and have room and locks."""
    try:
        home, folder, source = checks.state_place()
        own = cache_folder()
    except UserError as error:
        yield Line(MISSING, "caches", " ".join(str(error).split()))
        return
    used = home / ".cache" / "jittor"
    yield _cache("jittor cache", used, f"set JITTOR_HOME (now from {source}) to a folder that can be written")
    yield _cache("own cache", own, "set XDG_CACHE_HOME to a folder that can be written")
    place, begun = _existing(used), folder.is_dir()
    free = shutil.disk_usage(place).free
    short = free < CACHE_BYTES and not begun
    advice = f"; Jittor compiles {size(CACHE_BYTES)} of files: free some space or set JITTOR_HOME" if short else ""
    yield Line(MISSING if short else OK, "disk", f"{size(free)} free for the caches{advice}")
    yield _locks(place)


def _cache(subject: str, folder: Path, advice: str) -> Line:
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)):
            pass
    except OSError as error:
        return Line(MISSING, subject, f"{folder} cannot be written ({error.strerror}): {advice}")
    held = size(disk_usage(folder)) if folder.is_dir() else "not there yet, a first start fills it"
    return Line(OK, subject, f"{folder}: {held}")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(each for each in (folder, *folder.absolute().parents) if each.is_dir())


def _locks(place: Path) -> Line:
    """Whether files can be locked there, with a file without a name that is gone at once."""
    try:
        with tempfile.TemporaryFile(dir=place) as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        advice = "set JITTOR_HOME and XDG_CACHE_HOME to a local disk, and --out for runs"
        return Line(MISSING, "locks", f"files in {place} cannot be locked ({error.strerror}): {advice}")
    return Line(OK, "locks", f"files in {place} can be locked")


def _threads() -> str:
    given = os.environ.get("OMP_NUM_THREADS")
    found = f"{thread_count()} threads"
    return found if given is None else f"{found} by OMP_NUM_THREADS={given!r}"


def _memory(gib: float | None) -> Line:
    if gib is None or gib >= MEMORY_GIB:
        return Line(OK, "memory", "unknown" if gib is None else f"{gib:g} GiB")
    return Line(HINT, "memory", f"{gib:g} GiB: little for 640 px; a smaller --image-size and --batch-size help")


def _locale() -> Line:
    names = {locale.getpreferredencoding(False), sys.getfilesystemencoding(), sys.stdout.encoding or "unknown"}
    odd = sorted(name for name in names if name.lower().replace("-", "") != "utf8")
    if odd:
        return Line(HINT, "locale", f"{', '.join(odd)}: names in other scripts fail; export PYTHONUTF8=1")
    return Line(OK, "locale", "UTF-8")


def _extras() -> Iterator[Line]:
    for name, extra in EXTRAS.items():
        found = _version(name)
        yield Line(OK, name, found or f"not installed, and not needed: pip install -e '.[{extra}]'")
