"""Early exit: what each decoder layer gives and costs, as AP of a trained run and as time of an inference."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from experiments.benchmarks.environment import thread_variables
from experiments.benchmarks.session import Say, make_inputs
from experiments.runs.data import RunData
from experiments.runs.evaluation_source import Evaluation, Request, find
from experiments.runs.resume import open_run
from experiments.runs.stepper import open_stepper
from experiments.runs.validation import detect_and_score
from experiments.weight_files.initial import in_float32
from frameworks.config import ExperimentSpec
from frameworks.workers.client import open_framework


@dataclass(frozen=True)
class Exit:
    """Predictions after so many decoder layers in one framework: AP of each split, and seconds of every round."""

    framework: str
    layers: int
    ap: dict[str, float]  # by split
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Median seconds of an inference."""
        return median(self.seconds)


def exit_after(spec: ExperimentSpec, layers: int) -> ExperimentSpec:
    """The spec whose model predicts after so many layers; the weights are the same."""
    decoder = replace(spec.model.decoder, eval_idx=layers - 1)
    return replace(spec, model=replace(spec.model, decoder=decoder))


def measure_exits(
    run: Path, frameworks: Collection[str], *, rounds: int, log: Path, say: Say
) -> tuple[ExperimentSpec, list[Exit]]:
    """The spec of a run, and the exits of its named frameworks: last checkpoints, training and validation images.

    Raises:
        UserError: as ``evaluation_source.find``.
    """
    found = find(Request(str(run)))
    subsets = open_run(run).data
    exits = []
    for framework in (name for name in found.weights if name in frameworks):
        counts = range(1, found.spec.model.decoder.num_layers + 1)
        seconds = _seconds(found, framework, list(counts), rounds, say)
        for count in counts:
            exits.append(Exit(framework, count, _aps(found, subsets, framework, count, log), seconds[count]))
    return found.spec, exits


def _aps(found: Evaluation, subsets: RunData, framework: str, layers: int, log: Path) -> dict[str, float]:
    spec, weights = exit_after(found.spec, layers), in_float32(found.weights[framework].weights)
    with open_stepper(framework, found.machine, spec, weights, log) as stepper:
        title = f"{framework} after {layers} of {spec.model.decoder.num_layers} layers"
        return {
            split: detect_and_score(stepper, subset, spec.data, f"{title}, {split}").stats["AP"]
            for split, subset in subsets.items()
        }


def _seconds(found: Evaluation, framework: str, counts: list[int], rounds: int, say: Say) -> dict[int, list[float]]:
    """Seconds of an inference by layers, one of each per round, in one process; the first round warms up."""
    images, device = make_inputs(found.spec).images, found.machine.device
    weights = in_float32(found.weights[framework].weights)
    seconds: dict[int, list[float]] = {count: [] for count in counts}
    with open_framework(framework, device=device, variables=thread_variables()) as worker:
        for turn in range(rounds + 1):
            say(f"{framework}: an inference after each layer, round {turn + 1} of {rounds + 1}")
            for count in counts if turn % 2 else counts[::-1]:
                spent = worker.predict(exit_after(found.spec, count), weights, images, device=device).seconds
                if turn:
                    seconds[count].append(spent)
    return seconds
