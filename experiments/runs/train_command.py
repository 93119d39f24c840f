"""The command that trains one framework; the run is that of experiments/run.py."""

from typing import Any

from experiments.command import Parser, parse_pythons
from experiments.runs.evaluate_command import run_evaluation
from experiments.runs.evaluation_source import Request
from experiments.runs.options import Resume, interpret, options_parser
from experiments.runs.resume import require_run
from experiments.runs.start import begin, command_line
from frameworks import ADAPTERS
from frameworks.errors import UserError
from frameworks.files import user_path
from reports.run import files
from reports.run.meta import RunMeta

# Options of a training that say something about an evaluation, too.
_EVALUATING = ("preset", "data", "subset", "image_size", "batch_size", "device", "kernels", "in_process", "out")
_SOURCES = ("resume", "tuning", "weights")


def start(arguments: list[str]) -> int:
    """Do what the arguments of experiments/train.py ask for; returns the exit status.

    Raises:
        UserError: wrong arguments, data or files.
    """
    given = vars(_parser().parse_args(arguments))
    framework, test_only = given.pop("framework", None), given.pop("test_only", False)
    if "tuning" in given and ("resume" in given or "weights" in given):
        other = "resume" if "resume" in given else "weights"
        raise UserError(
            f"--tuning begins a new training with weights, and --{other} is given, too; give one of the two"
        )
    if test_only:
        return run_evaluation(_request(given, framework))
    if "tuning" in given:
        given |= {"weights": given.pop("tuning"), "partial_weights": True}
    if not given.keys() & {"resume", "check_data"}:
        if framework is None:
            raise UserError(f"--framework is needed: one of {', '.join(ADAPTERS)}")
        given["frameworks"] = framework
    asked = interpret(given)
    if isinstance(asked, Resume) and framework is not None:
        _require_framework(asked, framework)
    return begin(asked, command_line("train", arguments))


def _request(given: dict[str, Any], framework: str | None) -> Request:
    """The evaluation that --test-only asks for. Raises UserError without one, and for what is of a training."""
    if others := [name for name in given if name not in (*_EVALUATING, *_SOURCES, "python")]:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in others)
        raise UserError(f"--test-only evaluates in float32 and trains nothing; leave out {names}")
    if "out" in given:
        given["out"] = user_path(given["out"])
    source = next((given[name] for name in _SOURCES if name in given), None)
    if source is None:
        raise UserError(
            "--test-only evaluates what --resume (run, checkpoint) or --tuning (weights) names; give one"
        )
    settings = {name: given[name] for name in _EVALUATING if name in given}
    settings["pythons"] = parse_pythons(given.get("python", ()), tuple(ADAPTERS))
    return Request(source, frameworks=None if framework is None else (framework,), **settings)


def _require_framework(asked: Resume, framework: str) -> None:
    require_run(asked.folder)
    trained = RunMeta.read(asked.folder / files.META).frameworks
    if trained != [framework]:
        raise UserError(
            f"--framework {framework}: {asked.folder} trains {' and '.join(trained)}; "
            "go on with experiments/run.py --resume"
        )


def _parser() -> Parser:
    parser = options_parser(
        "python experiments/train.py", "Train RT-DETR in one framework, evaluate it, and report."
    )
    add = parser.add_argument
    add("--framework", choices=tuple(ADAPTERS), help="which; needed for a new training")
    add(
        "-t",
        "--tuning",
        metavar="FILE",
        help="begin with what fits of these weights (--weights, --partial-weights)",
    )
    add("--test-only", action="store_true", help="evaluate what --resume or --tuning names, and train nothing")
    return parser
