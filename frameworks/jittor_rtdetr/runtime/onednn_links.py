"""Link oneDNN from a pip package to the folder in which Jittor looks for it.

Without oneDNN a convolution on the CPU is about a hundred times slower. Jittor looks for it in one folder of its
cache and otherwise downloads it during the import, which fails on a machine without a network. The package
onednn-devel-cpu-gomp has the same library.
"""

import importlib.metadata
import re
import sys
import tempfile
from pathlib import Path

from frameworks.errors import UserError

PACKAGES = ("onednn-devel-cpu-gomp", "onednn-cpu-gomp")
ADVICE = "pip install onednn-devel-cpu-gomp==2022.2.1"
FOLDER_NAMES = {"x86_64": "dnnl_lnx_2.2.0_cpu_gomp", "aarch64": "dnnl_lnx_2.2.0_cpu_gomp_aarch64"}
MAJOR = 2  # Jittor 1.3 is written for oneDNN 2; version 3 has no longer all functions that it calls


def link_onednn(jittor_home: Path, machine: str) -> Path:
    """Make or repair Jittor's oneDNN folder, and return the path of the library.

    A folder that works is not changed, because other processes may be using it.

    Args:
        machine: processor type as ``platform.machine()`` gives it.

    Raises:
        UserError: no oneDNN 2 is installed, the processor type is unknown, or the folder cannot be written.
    """
    if machine not in FOLDER_NAMES:
        raise UserError(
            f"Jittor has no oneDNN for the processor type {machine}: expected {' or '.join(FOLDER_NAMES)}"
        )
    folder = jittor_home / ".cache" / "jittor" / "mkl" / FOLDER_NAMES[machine]
    if not usable(folder):
        include, library = find_package()
        try:
            (folder / "lib").mkdir(parents=True, exist_ok=True)
            _link(folder / "include", include)
            _link(folder / "lib" / "libdnnl.so.2", library)
            # Last, because this is the file that Jittor looks for to decide whether the folder is complete.
            _link(folder / "lib" / "libmkldnn.so", library)
        except OSError as error:
            raise UserError(f"the oneDNN folder {folder} can't be repaired ({error}): delete it") from error
    return (folder / "lib" / "libmkldnn.so").resolve()


def usable(folder: Path) -> bool:
    """Whether both names of the library and the headers of oneDNN 2 are in Jittor's folder."""
    libraries = (folder / "lib" / "libmkldnn.so", folder / "lib" / "libdnnl.so.2")
    return all(p.is_file() for p in libraries) and _header_major(folder / "include") == MAJOR


def find_package() -> tuple[Path, Path]:
    """Include folder and library of the installed package, under any prefix. Raises UserError without oneDNN 2."""
    includes = [p.parent for p in _installed("dnnl.hpp")] + [Path(sys.prefix) / "include"]
    libraries = _installed("libdnnl.so.2")
    libraries += [Path(sys.prefix) / lib / "libdnnl.so.2" for lib in ("lib", "lib64")]
    include = next((p for p in includes if (p / "dnnl.hpp").is_file() and _header_major(p) is not None), None)
    library = next((p for p in libraries if p.is_file()), None)
    missing = [name for name, found in (("dnnl.hpp", include), ("libdnnl.so.2", library)) if found is None]
    if include is None or library is None:
        raise UserError(f"oneDNN's {' and '.join(missing)} not found for {sys.executable}: {ADVICE}")
    if _header_major(include) != MAJOR:
        raise UserError(f"oneDNN {_header_major(include)} in {include}, expected {MAJOR} for Jittor: {ADVICE}")
    return include.resolve(), library.resolve()


def _installed(name: str) -> list[Path]:
    found = []
    for package in PACKAGES:
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        # The short path first: include/dnnl.hpp, not include/oneapi/dnnl/dnnl.hpp, which it includes.
        entries = sorted((f for f in files if f.name == name), key=lambda f: len(f.parts))
        found += [Path(str(f.locate())).resolve() for f in entries if Path(str(f.locate())).exists()]
    return found


def _header_major(include: Path) -> int | None:
    for header in (include / "oneapi" / "dnnl" / "dnnl_version.h", include / "dnnl_version.h"):
        if header.is_file():
            match = re.search(r"#define\s+DNNL_VERSION_MAJOR\s+(\d+)", header.read_text(encoding="utf-8"))
            if match:
                return int(match.group(1))
    return None


def _link(link: Path, target: Path) -> None:
    """Replace a link in one step, so that another process finds the old link or the new one."""
    with tempfile.TemporaryDirectory(dir=link.parent, prefix=".link-") as folder:
        temporary = Path(folder) / link.name
        temporary.symlink_to(target)
        temporary.replace(link)
