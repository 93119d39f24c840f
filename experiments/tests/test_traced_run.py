"""A run trains what parity compares: its steps are those of a trace with the same inputs, to the bit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import frameworks
from experiments.data.coco import load_split
from experiments.runs.data import Subset
from experiments.runs.training_loop import Training, train
from experiments.tests.data_sets import shapes
from frameworks.arrays import Arrays
from frameworks.config import preset
from frameworks.protocol import Case, StepRecord
from frameworks.state.initialisation import initial_weights

STEPS = 3  # 7 images by 2, all of them in the warm-up


def test_the_steps_of_a_run_are_those_of_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches, noise, learning rates of every group and EMA decays, as the loop hands them to the twin."""
    tiny = preset("tiny")
    recipe = replace(tiny.recipe, epochs=1, warmup_steps=STEPS + 1, ema_warmup_steps=10)
    spec = replace(tiny, recipe=recipe, data=replace(tiny.data, image_size=(32, 32), batch_size=2))
    split = load_split(shapes(tmp_path, train=7, val=1), "train")
    framework, weights = frameworks.load(frameworks.REFERENCE), initial_weights(spec.model, 0)
    stepper = framework.trainer(spec, weights, device="cpu")
    inputs: Arrays = {}
    step = stepper.step

    def recorded(batch: Arrays, *arguments: Any, **options: Any) -> StepRecord:
        number = len({name.partition("/")[0] for name in inputs})
        inputs.update({f"step{number}/{name}": array for name, array in batch.items()})
        return step(batch, *arguments, **options)

    monkeypatch.setattr(stepper, "step", recorded)
    train(Training(spec, Subset(split, list(split.images)), seed=5), stepper, tmp_path, "torch", print)
    case = Case("steps", spec, training=True, steps=STEPS)
    trace = framework.trace(case, weights, inputs, device="cpu", dtype="float32")
    state = stepper.state()
    assert f"step{STEPS - 1}/images" in inputs and f"step{STEPS}/images" not in inputs
    assert state.keys() <= trace.keys()
    different = [name for name, array in state.items() if array.tobytes() != trace[name].tobytes()]
    assert not different, f"{len(different)} of {len(state)} arrays, the first: {different[:3]}"
