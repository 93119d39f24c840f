"""The command twin-detr, which pip installs: twin-detr COMMAND ... is python experiments/COMMAND.py ..."""

import importlib
import sys

from experiments.command import COMPLETE, end_on_signals, run_command
from frameworks.config.validation import nearest
from frameworks.errors import UserError

# command -> module with its main(), imported when it is asked for; what it does
COMMANDS = {
    "run": ("experiments.run", "train every framework on the same images, and compare"),
    "train": ("experiments.train", "train one framework"),
    "evaluate": ("experiments.evaluate", "COCO's numbers of a run, a checkpoint or weights"),
    "detect": ("experiments.detect", "detect on images and videos, in either framework or in both"),
    "demo": ("experiments.demo", "a page in the browser that shows the detections of both"),
    "runs": ("experiments.runs.list_command", "list, show and compare runs"),
    "weights": ("experiments.weights", "inspect, convert, verify and export weights"),
    "spec": ("experiments.spec", "list presets, show one as YAML"),
    "benchmark": ("experiments.benchmark", "time a training step and an inference"),
    "costs": ("experiments.costs", "parameters, operations and time of the parts of a model"),
    "diagnose": ("experiments.diagnose", "find the first module in which two implementations differ"),
    "check": ("experiments.check", "what this machine can do, and what it lacks"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run `arguments` (default: those of the process), a command with its own; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if not given or given[0] in ("-h", "--help"):
        print("usage: twin-detr COMMAND ...; twin-detr COMMAND --help says more\n")
        print("\n".join(f"  {name:<10} {purpose}" for name, (_, purpose) in COMMANDS.items()))
        return COMPLETE
    return run_command(lambda: _start(given[0], given[1:]))


def _start(name: str, arguments: list[str]) -> int:
    if name not in COMMANDS:
        raise UserError(f"unknown command {name!r}; expected {', '.join(COMMANDS)}.{nearest(name, COMMANDS)}")
    end_on_signals()
    return importlib.import_module(COMMANDS[name][0]).main(arguments)
