"""Time one training step and one inference of both twins and of Hugging Face's RT-DETR, interleaved in one run.

    python experiments/benchmark.py --preset rtdetr_r18vd --image-size 160 320 --minutes 1

Speed is recorded, never asserted. Exit status: 0 complete, 1 a framework failed (it is in the records) or, with
--publish, the machine was too noisy, 2 an error in the arguments or the environment (one line on stderr), 130
interrupted.
"""

import sys
from pathlib import Path

if not __package__:  # started as a file: Python put experiments/ on the path instead of the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from experiments.benchmarks.start import start
from experiments.command import run_command


def main(arguments: list[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process); returns the exit status."""
    return run_command(lambda: start(arguments), interrupted="interrupted; what was timed is in the records")


if __name__ == "__main__":
    sys.exit(main())
