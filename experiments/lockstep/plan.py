"""What a lockstep session runs: model, data, number of steps, and the list of its training runs."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import count, islice
from typing import Any

import frameworks
from experiments.data.batches import epoch_batches
from experiments.lockstep.faults import FAULTS
from experiments.runs.data import Subset, choose_data
from experiments.runs.training_loop import Training, step_inputs
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec, preset
from reports.lockstep.records import BASE, FAULT, PERTURBED

DTYPES = ("float64", "float32")
IMAGES = 100  # of the data set; with two images a batch, an epoch has 50 steps


@dataclass(frozen=True)
class Plan:
    """Settings of a session; ``perturbed``: runs of each framework and dtype from perturbed weights.

    ``warm``: steps that the reference trains before the lockstep begins. At initialisation a seventh of all
    sampling coordinates lie exactly on a kink of bilinear sampling, where a gradient depends on the side that
    rounding takes; after some steps none does.
    """

    preset: str = "rtdetr_r18vd"
    steps: int = 50
    perturbed: int = 10
    size: int = 128
    batch: int = 2
    warm: int = 10
    seed: int = 0

    def settings(self) -> dict[str, Any]:
        """The fields, for the records."""
        return asdict(self)

    def spec(self) -> ExperimentSpec:
        """The preset with its augmentation, losses, denoising and average, at a fixed size, with warm-up."""
        spec = preset(self.preset)
        augmentation = replace(spec.data.augmentation, scales=())
        size = (self.size, self.size)
        data = replace(spec.data, image_size=size, batch_size=self.batch, augmentation=augmentation)
        return replace(spec, recipe=replace(spec.recipe, warmup_steps=20), data=data)


@dataclass(frozen=True)
class RunKey:
    """One training run: framework, dtype, kind ("base", "perturbed", "fault"), and which one of that kind."""

    framework: str
    dtype: str
    kind: str
    which: str = ""

    @property
    def title(self) -> str:
        """A name for people and files."""
        return " ".join(filter(None, (self.framework, self.dtype, self.kind, self.which)))


def run_keys(plan: Plan, dtype: str) -> list[RunKey]:
    """All runs of a dtype: first those from the given weights, then the perturbed ones, then the faults."""
    names = tuple(frameworks.ADAPTERS)
    keys = [RunKey(name, dtype, BASE) for name in names]
    keys += [RunKey(name, dtype, PERTURBED, str(number)) for number in range(plan.perturbed) for name in names]
    return keys + [RunKey(frameworks.REFERENCE, dtype, FAULT, fault.stage) for fault in FAULTS]


def batches(plan: Plan, data: str | None) -> tuple[str, list[Arrays]]:
    """Where the images come from, and the inputs of all steps: first ``plan.warm``, then ``plan.steps``.

    Raises:
        UserError: missing or broken data.
    """
    spec = plan.spec()
    source, chosen = choose_data(data, subset=IMAGES, seed=plan.seed)
    training = Training(spec, Subset(chosen["train"].split, chosen["train"].ids), plan.seed)
    return source.sentence, list(islice(_inputs(training), plan.warm + plan.steps))


def _inputs(training: Training) -> Iterator[Arrays]:
    step = 0
    for epoch in count():
        for batch in epoch_batches(training.subset.split, training.subset.ids, training.order, epoch):
            yield step_inputs(training, batch.arrays, step)
            step += 1
