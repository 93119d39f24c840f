"""Find a C++ compiler and Python's headers. Imports no package, not even this project's.

So nox can start this file before anything is installed: it prints one line and ends with status 2 where one of the
two is missing.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path


class ToolMissing(Exception):
    """Something that Jittor compiles with is not there; the message says what to install."""


def compiler() -> tuple[str, str]:
    """Path and version of g++. Raises ToolMissing if there is none or it does not run."""
    path = shutil.which("g++")
    if path is None:
        raise ToolMissing("g++ is not on PATH and Jittor compiles every operator with it: apt-get install g++")
    result = subprocess.run([path, "-dumpfullversion", "-dumpversion"], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or ["no output"])[-1]
        raise ToolMissing(f"{path} does not run ({reason}): apt-get install --reinstall g++")
    return path, result.stdout.strip()


def python_include() -> Path:
    """Folder of this interpreter's Python.h. Raises ToolMissing if there is none."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    extra = [Path(p) for p in os.environ.get("CPLUS_INCLUDE_PATH", "").split(os.pathsep) if p]
    candidates = [
        Path(sysconfig.get_paths()["include"]),
        Path(sysconfig.get_paths()["platinclude"]),
        Path(sys.base_prefix) / "include" / name,
        Path("/usr/include") / name,
        *extra,
    ]
    for folder in candidates:
        if (folder / "Python.h").is_file():
            return folder
    raise ToolMissing(
        f"Python.h of Python {name[6:]} not found in {candidates[0]} or /usr/include/{name}: "
        f"apt-get install {name}-dev, or put its folder in CPLUS_INCLUDE_PATH"
    )


def main() -> int:
    """Check both; returns the exit status."""
    try:
        compiler()
        python_include()
    except ToolMissing as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
