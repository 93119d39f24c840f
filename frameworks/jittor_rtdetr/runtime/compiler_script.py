"""Write the script that Jittor calls in place of g++, which spends most of its time on parsing headers.

The script gives the files of Jittor's core and the kernels a precompiled header each, made by the first file that
needs it, and calls g++ once for a kernel. Jittor calls it three times, to search the assembler code for a mark that
kernels for the CPU do not have. Measured: 1.6 s of a core for a kernel without the script, 0.5 s with it, and the
machine code is the same.

``TWIN_DETR_PLAIN_COMPILER=1`` switches the script off. Where a header cannot be used, g++ is called without it, and
``problem`` says why.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from frameworks.jittor_rtdetr.runtime.checks import write_atomically

VARIABLE = "TWIN_DETR_PLAIN_COMPILER"

# The headers that every kernel, and almost every file of the core, includes.
KERNEL_HEADER = """\
#include <cmath>
#include <limits>
#include <assert.h>
#include "var.h"
#include "ops/op_register.h"
#include "executor.h"
#include "fused_op.h"
"""
CORE_HEADER = """\
#include <Python.h>
#include "var.h"
#include "op.h"
#include "executor.h"
#include "fused_op.h"
#include "var_holder.h"
"""

# KIND.flags has the flags that KIND.h.gch was made with: g++ ignores a header that was made with others. While one
# process makes it, or after it failed, the others call g++ without it.
SCRIPT = """\
#!/bin/sh
compiler='{compiler}'
folder='{folder}'
case "$1" in */asm_tuner.py) shift 2 ;; esac
kind=other flags='' previous=''
for argument do
  case "$previous $argument" in
    '-o '*.cc.o) kind=core ;;
    '-o '*/data.o | '-o '*/jit_utils_core*) kind=rest ;;
    '-o '*) ;;
    *' '*/cache/jit/*.cc) kind=kernel ;;
    *' -o' | *' -c' | *' -shared' | *' -l'* | *' -L'* | *' -Wl,'* | *.cc | *.o) ;;
    *) flags="$flags $argument" ;;
  esac
  previous=$argument
done
case $kind in
  # The core builds graphs, which is 3 % of a step, and less optimisation halves the time of its largest files.
  core) first='' last='-O1 -w' ;;
  rest) exec "$compiler" "$@" -O1 -w ;; # of the core: two commands with other flags
  # The kernel defines the same two names with the same values, after the header.
  kernel) first='-DJIT=1 -DJIT_cpu=1' last='' ;;
  other) exec "$compiler" "$@" ;;
esac
header=$folder/$kind.h
if [ ! -e "$folder/$kind.flags" ] && mkdir "$folder/$kind.making" 2>/dev/null; then
  if message=$("$compiler" $first $flags $last -x c++-header "$header" -o "$header.gch" 2>&1) &&
     message=$("$compiler" $first -include "$header" -Winvalid-pch -Werror $flags $last \\
               -fsyntax-only -x c++ /dev/null 2>&1); then
    printf '%s\\n' "$flags" >"$folder/$kind.new" && mv "$folder/$kind.new" "$folder/$kind.flags"
  else
    printf '%s\\n' "$message" >"$folder/$kind.failed"
  fi
fi
known=''
[ ! -e "$folder/$kind.flags" ] || IFS= read -r known <"$folder/$kind.flags"
[ "$known" != "$flags" ] || first="$first -include $header"
exec "$compiler" $first "$@" $last
"""


def write_compiler_script(state: Path, compiler: str, depends_on: Any) -> Path | None:
    """Write the script and its headers into a folder of their own in ``state``.

    Args:
        compiler: path of g++.
        depends_on: everything that a precompiled header depends on, as plain values, for the folder's name.

    Returns:
        the script's path; None if the user switched it off.
    """
    if os.environ.get(VARIABLE, "0") not in ("", "0"):
        return None
    content = json.dumps([SCRIPT, KERNEL_HEADER, CORE_HEADER, compiler, depends_on])
    folder = state / f"compiler-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
    folder.mkdir(exist_ok=True)
    write_atomically(folder / "kernel.h", KERNEL_HEADER)
    write_atomically(folder / "core.h", CORE_HEADER)
    # Jittor takes the kind of a compiler from its name.
    return write_atomically(folder / "g++", SCRIPT.format(compiler=compiler, folder=folder), 0o755)


def forget_unfinished(folder: Path) -> None:
    """Let a header be made again whose making was interrupted; no other process may be compiling."""
    for kind in ("core", "kernel"):
        marker = folder / f"{kind}.making"
        if marker.is_dir() and not (folder / f"{kind}.flags").exists() and not (folder / f"{kind}.failed").exists():
            marker.rmdir()


def problem(folder: Path) -> str | None:
    """Why kernels are compiled without a precompiled header, in one line; None if they are compiled with it."""
    failed = [path for path in (folder / "core.failed", folder / "kernel.failed") if path.is_file()]
    if not failed:
        return None
    lines = failed[0].read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no message"]
    reason = next((line for line in lines if "error" in line), lines[-1]).strip()
    return (
        f"Jittor compiles kernels without precompiled headers, three times slower: g++ says {reason[:200]} "
        f"(delete {folder} to try again)"
    )
