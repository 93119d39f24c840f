"""The loop around every framework: what a step is given, what is recorded, and where a run goes on."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.data.coco import load_split
from experiments.runs import training_loop
from experiments.runs.checkpoint import read_reached
from experiments.runs.data import Subset
from experiments.runs.monitoring import Monitoring
from experiments.runs.resume import repair
from experiments.runs.training_loop import Training, train
from experiments.tests.data_sets import shapes, user_error
from experiments.tests.steppers import CountingStepper
from frameworks.arrays import load_arrays
from frameworks.config import preset, spec_hash
from reports.run.files import CHECKPOINT, EPOCHS, STEPS, kept_checkpoint


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Training:
    root = shapes(tmp_path_factory.mktemp("data"), train=7, val=1)
    tiny = preset("tiny")
    recipe = replace(tiny.recipe, epochs=3, warmup_steps=4, milestones=(2,), ema_warmup_steps=10)
    spec = replace(tiny, recipe=recipe, data=replace(tiny.data, image_size=(32, 32)))
    split = load_split(root, "train")
    return Training(spec, Subset(split, list(split.images)), seed=5)


def run(
    training: Training, folder: Path, stepper: CountingStepper, validate: Callable[[int], None] = lambda epoch: None
) -> CountingStepper:
    folder.mkdir(exist_ok=True)
    train(training, stepper, folder, "counting", say=lambda line: None, validate=validate)
    return stepper


def records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_step_is_recorded_with_its_schedule(training: Training, tmp_path: Path) -> None:
    stepper = run(training, tmp_path, CountingStepper())
    steps, epochs = records(tmp_path / STEPS), records(tmp_path / EPOCHS)
    assert [(each["step"], each["epoch"]) for each in steps] == [(n, n // 3) for n in range(9)]  # 7 images by 2
    official = training.spec.recipe.groups[0].lr
    assert [each["lr"][0] / official for each in steps] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 0.1, 0.1, 0.1])
    decays = [decay for _, _, decay in stepper.calls]
    assert decays == pytest.approx([0.9999 * (1 - math.exp(-n / 10)) for n in range(1, 10)])
    assert [each["lr"] for each in steps] == [rates for _, rates, _ in stepper.calls]
    assert [(each["epoch"], each["steps"], each["loss"]) for each in epochs] == [(0, 3, 3), (1, 3, 3), (2, 3, 3)]
    assert epochs[0]["first_step_seconds"] == 0.25 and epochs[0]["peak_memory_mb"] == 12.5


def test_batches_accumulate_and_schedules_count_updates(training: Training, tmp_path: Path) -> None:
    """3 batches an epoch, 2 an update: the second update of an epoch has one batch."""
    recipe = replace(training.spec.recipe, accumulate=2, warmup_steps=6, milestones=())
    stepper = run(replace(training, spec=replace(training.spec, recipe=recipe)), tmp_path, CountingStepper())
    assert stepper.parts == [(False, 0.5), (True, 0.5), (True, 1.0)] * 3
    rates = [rates[0] / recipe.groups[0].lr * 6 for _, rates, _ in stepper.calls]
    assert rates == pytest.approx([1, 1, 2, 3, 3, 4, 5, 5, 6])
    decays = [decay for _, _, decay in stepper.calls]
    assert decays[0] == decays[1] < decays[2] < decays[3] == decays[4]


def test_noise_comes_with_every_batch_and_differs_between_steps(training: Training, tmp_path: Path) -> None:
    calls = run(training, tmp_path, CountingStepper()).calls
    noises = [batch["noise/part"] for batch, _, _ in calls if "noise/part" in batch]
    assert len(noises) >= 8, "at most the image without objects can be without noise"
    assert len({noise.flat[0] for noise in noises}) == len(noises)


def test_every_epoch_has_an_order_of_its_own(training: Training, tmp_path: Path) -> None:
    calls = run(training, tmp_path, CountingStepper()).calls
    epochs = [np.concatenate([batch["images"] for batch, _, _ in calls[at : at + 3]]) for at in (0, 3, 6)]
    assert not np.array_equal(epochs[0], epochs[1]) and not np.array_equal(epochs[1], epochs[2])


def test_two_frameworks_are_given_the_same(training: Training, tmp_path: Path) -> None:
    one, other = (run(training, tmp_path / name, CountingStepper()) for name in ("one", "other"))
    for (batch, *numbers), (same, *same_numbers) in zip(one.calls, other.calls, strict=True):
        assert numbers == same_numbers and batch.keys() == same.keys()
        assert all(np.array_equal(batch[name], same[name]) for name in batch)
    another = run(replace(training, seed=6), tmp_path / "another", CountingStepper())
    assert another.sum != one.sum


def interrupt_at(step: int) -> Callable[[int], None]:
    def fault(number: int) -> None:
        if number == step:
            raise KeyboardInterrupt

    return fault


@pytest.mark.parametrize("short", [0.0, 3600.0])
@pytest.mark.parametrize("step", [0, 2, 3, 4, 8])
def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, short: float
) -> None:
    monkeypatch.setattr(training_loop, "SHORT_EPOCH_S", short)
    whole = run(training, tmp_path / "whole", CountingStepper())
    folder = tmp_path / "interrupted"
    with pytest.raises(KeyboardInterrupt):
        run(training, folder, CountingStepper(interrupt_at(step)))
    assert len(records(folder / STEPS)) == step, "what was done until then is kept"
    repair(folder, training.spec)
    rest = run(training, folder, CountingStepper())
    finished = 0 if short else step // 3 * 3
    assert len(rest.calls) == 9 - finished, "the finished epochs are not trained again if they have a checkpoint"
    assert rest.sum == whole.sum
    assert records(folder / STEPS) == records(tmp_path / "whole" / STEPS)
    assert [each["epoch"] for each in records(folder / EPOCHS)] == [0, 1, 2]


@pytest.mark.parametrize("step", [1, 4, 5, 6])
def test_a_checkpoint_within_an_epoch_goes_on_with_the_next_step(
    training: Training, tmp_path: Path, step: int
) -> None:
    every_step = replace(training, monitoring=Monitoring(checkpoint_minutes=0))
    whole = run(training, tmp_path / "whole", CountingStepper())
    folder = tmp_path / "interrupted"
    with pytest.raises(KeyboardInterrupt):
        run(every_step, folder, CountingStepper(interrupt_at(step)))
    repair(folder, training.spec)
    rest = run(training, folder, CountingStepper())
    assert len(rest.calls) == 9 - step, "no step is trained again"
    assert rest.sum == whole.sum
    assert records(folder / STEPS) == records(tmp_path / "whole" / STEPS)
    both = [[without_clock(each) for each in records(where / EPOCHS)] for where in (folder, tmp_path / "whole")]
    assert both[0] == both[1], "an epoch's record is about all its steps"


def without_clock(record: dict) -> dict:
    return {key: record[key] for key in record if key != "seconds"}


@pytest.mark.parametrize(
    ("seconds", "monitoring", "steps"),
    [
        (60, Monitoring(checkpoint_minutes=2), [2, 3, 5, 6, 8, 9]),
        (60, Monitoring(checkpoint_minutes=0), list(range(1, 10))),
        (2, Monitoring(), [6, 9]),  # an epoch takes 6 seconds, two of them 12
        (0, Monitoring(), [9]),
        (0, Monitoring(checkpoint_minutes=0), list(range(1, 10))),
        (0, Monitoring(keep_every=2), [6, 9]),
        (0, Monitoring(validate_every=1), [3, 6, 9]),
    ],
)
def test_checkpoints_come_by_the_clock_and_after_every_epoch_that_is_not_short(
    training: Training,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    monitoring: Monitoring,
    steps: list[int],
) -> None:
    saved: list[int] = []
    stepper = CountingStepper()  # a step takes so many seconds on this clock
    clock = SimpleNamespace(monotonic=lambda: seconds * len(stepper.calls), perf_counter=time.perf_counter)
    monkeypatch.setattr(training_loop, "time", clock)
    monkeypatch.setattr(training_loop, "save_checkpoint", lambda *given, epochs, steps: saved.append(steps))
    monkeypatch.setattr(training_loop, "keep_checkpoint", lambda *given: None)
    run(replace(training, monitoring=monitoring), tmp_path, stepper)
    assert saved == steps


def test_every_second_epoch_is_kept_and_validated(training: Training, tmp_path: Path) -> None:
    longer = replace(training.spec, recipe=replace(training.spec.recipe, epochs=6))
    watched = replace(training, spec=longer, monitoring=Monitoring(validate_every=2, keep_every=2))
    validated: list[int] = []
    whole = run(watched, tmp_path, CountingStepper(), validated.append)
    assert validated == [1, 3], "the last epoch is evaluated by the caller"
    kept = sorted(path.name for path in tmp_path.glob("epoch_*"))
    assert kept == [kept_checkpoint(2), kept_checkpoint(4), kept_checkpoint(6)]
    assert load_arrays(tmp_path / kept[-1])["parameter/sum"] == whole.sum
    assert load_arrays(tmp_path / kept[0])["parameter/sum"] != whole.sum, "it is not overwritten with the last one"


def test_an_interrupted_validation_is_made_good(training: Training, tmp_path: Path) -> None:
    watched = replace(training, monitoring=Monitoring(validate_every=1, keep_every=1))

    def interrupted(epoch: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(watched, tmp_path, CountingStepper(), interrupted)
    (tmp_path / kept_checkpoint(1)).unlink()
    repair(tmp_path, training.spec)
    validated: list[int] = []
    run(watched, tmp_path, CountingStepper(), validated.append)
    assert validated == [0, 1] and (tmp_path / kept_checkpoint(1)).exists()


def test_an_overflow_of_float16_is_recorded_and_ends_nothing(training: Training, tmp_path: Path) -> None:
    run(training, tmp_path, CountingStepper(norm=math.inf, overflow=True))
    rows = records(tmp_path / STEPS)
    assert len(rows) == 9 and {(row["grad_norm"], row["overflow"]) for row in rows} == {(None, True)}


@pytest.mark.parametrize(
    "broken",
    [
        CountingStepper(total=math.nan),
        CountingStepper(norm=math.inf),
        CountingStepper(total=math.nan, norm=math.nan, overflow=True),
    ],
)
def test_a_number_that_is_not_finite_ends_the_training(
    training: Training, tmp_path: Path, broken: CountingStepper
) -> None:
    with pytest.raises(FloatingPointError, match="step 0"):
        run(training, tmp_path, broken)
    (record,) = records(tmp_path / STEPS)
    assert None in (record["total"], record["grad_norm"]), "the step that broke is in the records"
    assert read_reached(tmp_path, spec_hash(training.spec)) is None


def test_a_checkpoint_of_another_spec_is_refused(training: Training, tmp_path: Path) -> None:
    run(training, tmp_path, CountingStepper())
    user_error(lambda: read_reached(tmp_path, "0" * 16), "made with spec", spec_hash(training.spec))
    (tmp_path / CHECKPOINT).write_bytes(b"not a checkpoint")
    user_error(lambda: read_reached(tmp_path, spec_hash(training.spec)), "no checkpoint", "delete it")


def test_records_that_do_not_lead_to_the_checkpoint_are_refused(training: Training, tmp_path: Path) -> None:
    run(training, tmp_path, CountingStepper())
    lines = (tmp_path / STEPS).read_text().splitlines(keepends=True)
    (tmp_path / STEPS).write_text("".join(lines[:4] + lines[5:]))
    user_error(lambda: repair(tmp_path, training.spec), STEPS, "step 9")


def test_a_rectangle_is_trained_as_one(training: Training, tmp_path: Path) -> None:
    data = replace(training.spec.data, image_size=(32, 96))
    calls = run(replace(training, spec=replace(training.spec, data=data)), tmp_path, CountingStepper()).calls
    assert {batch["images"].shape for batch, _, _ in calls} == {(2, 3, 32, 96)}
