"""Checks of everything that Jittor needs from the machine; what is missing is a UserError of one line.

Jittor itself reports it late or not at all: NumPy 2 gives wrong numbers without an error, a missing compiler a
traceback of twenty lines, a missing Python.h a page of g++ output two minutes after the import began.
"""

import fcntl
import importlib.machinery
import importlib.metadata
import os
import platform
import sys
import sysconfig
import tempfile
import zlib
from pathlib import Path

from frameworks.errors import UserError
from frameworks.files import home_folder
from frameworks.jittor_rtdetr.runtime import toolchain

SUPPORTED_PYTHONS = ((3, 8), (3, 12))  # no wheel of a NumPy below 2 exists past 3.12
STATE_NAME = "twin-detr"


def check_platform() -> None:
    """Raise UserError unless this is Linux."""
    if platform.system() != "Linux":
        raise UserError(
            f"Jittor is supported by this project on Linux only, this is {platform.system()}: "
            "run it in a Linux container or WSL, or use the PyTorch side"
        )


def check_python(version: tuple[int, int]) -> None:
    """Raise UserError unless Jittor supports this Python, given as (major, minor)."""
    low, high = SUPPORTED_PYTHONS
    if not low <= version <= high:
        raise UserError(
            f"Jittor needs Python {low[0]}.{low[1]} to {high[0]}.{high[1]}, this is {version[0]}.{version[1]}: "
            f"NumPy < 2, which Jittor needs, has no build for it; use python{high[0]}.{high[1]}"
        )


def numpy_version() -> str:
    """Version of NumPy. Raises UserError unless both the installed package and the imported module are below 2."""
    try:
        import numpy

        installed = importlib.metadata.version("numpy")
    except ImportError as error:
        raise UserError(f"NumPy is not importable ({error}): pip install 'numpy<2'") from error
    for version in (numpy.__version__, installed):
        if int(version.split(".")[0]) >= 2:
            raise UserError(
                f"NumPy {version} corrupts Jittor's data silently (arrays read freed memory), "
                f"expected NumPy 1.x in {sys.executable}: pip install 'numpy<2'"
            )
    return numpy.__version__


def jittor_version() -> tuple[str, Path]:
    """Version and folder of the installed Jittor, read without an import, which would start to compile it."""
    # Not importlib.util.find_spec: it looks at loaded modules first and fails on a half-imported one.
    spec = importlib.machinery.PathFinder.find_spec("jittor")
    if spec is None or spec.origin is None:
        raise UserError(f"Jittor is not installed for {sys.executable}: pip install jittor==1.3.11.0")
    folder = Path(spec.origin).parent
    for line in Path(spec.origin).read_text(encoding="utf-8").splitlines():
        if line.startswith("__version__"):
            return line.split("'")[1], folder
    raise UserError(f"no version in {spec.origin}: reinstall with pip install --force-reinstall jittor==1.3.11.0")


def compiler() -> tuple[str, str]:
    """Path and version of g++. Raises UserError if there is none or it does not run."""
    try:
        return toolchain.compiler()
    except toolchain.ToolMissing as error:
        raise UserError(str(error)) from None


def python_include() -> Path:
    """Folder of this interpreter's Python.h. Raises UserError if there is none."""
    try:
        return toolchain.python_include()
    except toolchain.ToolMissing as error:
        raise UserError(str(error)) from None


def require() -> None:
    """Raise UserError where Jittor cannot start with this interpreter. Quick: nothing is compiled."""
    check_platform()
    check_python(sys.version_info[:2])
    numpy_version()
    jittor_version()
    compiler()
    python_include()
    state_folder()


def jittor_home() -> tuple[Path, str]:
    """Folder in which Jittor keeps its cache, and the variable that this choice comes from.

    Jittor itself writes JITTOR_HOME into ~/.cache/jittor/config.json, and later runs without the variable use it.
    Here the variable decides about its own run only: see ``environment.import_jittor``.
    """
    if os.environ.get("JITTOR_HOME"):
        return Path(os.environ["JITTOR_HOME"]).resolve(), "JITTOR_HOME"
    return home_folder().absolute(), "HOME"


def state_place() -> tuple[Path, Path, str]:
    """Jittor's home, this project's folder in its cache, which may not exist yet, and the variable that says where.

    Raises:
        UserError: the path has a space.
    """
    home, source = jittor_home()
    folder = home / ".cache" / "jittor" / STATE_NAME
    if any(c.isspace() for c in str(folder)):
        raise UserError(
            f"Jittor's cache folder {folder} (from {source}) has a space in its path, which Jittor's compiler "
            "commands do not quote: set JITTOR_HOME to a folder without spaces"
        )
    return home, folder, source


def state_folder() -> tuple[Path, Path]:
    """Jittor's home, and this project's folder in its cache. Makes missing folders.

    Raises:
        UserError: the path has a space, or a folder cannot be written.
    """
    home, folder, source = state_place()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as Jittor does; some network disks cannot
    except OSError as error:
        raise UserError(
            f"Jittor's cache folder {folder} (from {source}) cannot be written and locked ({error.strerror}): "
            "set JITTOR_HOME to a folder of a local disk that can be written"
        ) from error
    return home, folder


def write_atomically(path: Path, text: str, mode: int = 0o644) -> Path:
    """Write a text file in one step, so that other processes read the old text or the new one. Returns the path."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return path
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(temporary).chmod(mode)
    Path(temporary).replace(path)
    return path


def python_config_script(folder: Path, include: Path) -> Path:
    """Write a script that replaces python3.x-config for this interpreter, and return its path.

    Jittor calls python3.x-config with two options. Distributions often do not install it, and where they do, Jittor
    takes the one of /usr/bin even when another Python of that version runs.
    """
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    text = (
        "#!/bin/sh\n"
        'case "$1" in\n'
        f"--includes) echo '-I{include}' ;;\n"
        f"--extension-suffix) echo '{suffix}' ;;\n"
        "*) exit 1 ;;\n"
        "esac\n"
    )
    return write_atomically(folder / f"python-config-{zlib.crc32(text.encode()):08x}", text, 0o755)
