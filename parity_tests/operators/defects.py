"""Run the reproductions of docs/jittor_defects with the twin's Jittor, whose core is compiled already.

    python -m parity_tests.operators.defects [NAME ...]

They need Jittor and NumPy alone, and run without this too.
"""

import os
import subprocess
import sys
from pathlib import Path

from frameworks.errors import UserError, exit_status
from frameworks.jittor_rtdetr.runtime.environment import import_jittor, prepare

FOLDER = Path(__file__).resolve().parents[2] / "docs/jittor_defects"
WORDS = {0: "mended", 1: "present"}


def variables() -> dict[str, str]:
    """The environment in which a script imports the twin's Jittor."""
    environment = prepare("cpu")
    package = [str(environment.package), os.environ.get("PYTHONPATH", "")]
    return os.environ | environment.variables | {"PYTHONPATH": os.pathsep.join(filter(None, package))}


def run(script: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Exit status of a script (1: the defect is there) and the last line that it prints."""
    process = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True)
    lines = (process.stdout or process.stderr).strip().splitlines()
    return process.returncode, lines[-1] if lines else ""


def main() -> int:
    """Run all of them, or those named on the command line; returns 1 if one neither finds nor misses its defect."""
    import_jittor("cpu")  # compiles, if nothing has done it
    scripts = [FOLDER / f"{name}.py" for name in sys.argv[1:]] or sorted(FOLDER.glob("*.py"))
    if missing := [script.stem for script in scripts if not script.exists()]:
        raise UserError(f"{missing[0]}: there is no such defect; docs/jittor_defects/README.md lists them")
    environment, unclear = variables(), 0
    for script in scripts:
        status, line = run(script, environment)
        unclear += status not in WORDS or ", expected " not in line
        print(f"{WORDS.get(status, f'status {status}')}: {script.stem}: {line}", flush=True)
    return int(unclear > 0)


if __name__ == "__main__":
    sys.exit(exit_status(main))
