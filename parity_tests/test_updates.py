"""Training runs of the twins: batches that accumulate to one update, frozen groups, counters of the norms."""

from dataclasses import replace

import numpy as np
import pytest

import frameworks
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec, ParameterGroup
from frameworks.protocol import Framework, Stepper, StepRecord
from frameworks.state.parameters import trainable_names
from parity_tests.cases.contract import MODEL, SPEC, batch, weights
from parity_tests.traces import Traces

RATES = [1e-3] * len(SPEC.recipe.groups)


@pytest.fixture(params=frameworks.ADAPTERS)
def framework(request, traces: Traces):
    """Each framework, in the worker of the session."""
    return traces.workers.get(request.param, "cpu")


def half(stepper: Stepper, *, last: bool) -> StepRecord:
    """One of two equal batches of an update."""
    return stepper.step(batch(), RATES, 0.5, update=last, share=0.5)


def trained(state: Arrays) -> dict[str, bytes]:
    """Parameters, moments and averages of what is trained, as bytes."""
    kinds = ("parameter", "moment1", "moment2", "ema")
    names = [f"{kind}/{name}" for kind in kinds for name in trainable_names(MODEL)]
    return {name: state[name].tobytes() for name in names}


def trainer(framework: Framework, spec: ExperimentSpec = SPEC) -> Stepper:
    """A new training run; it takes the place of the worker's last one."""
    return framework.trainer(spec, weights(), device="cpu")


def test_two_halves_are_one_update(framework):
    """To the bit, because half of a gradient twice is the gradient; a state between the halves is complete."""
    stepper = trainer(framework)
    record, whole = stepper.step(batch(), RATES, 0.5), trained(stepper.state())
    stepper = trainer(framework)
    first = half(stepper, last=False)
    assert (first.total, first.matching) == (record.total, record.matching)
    assert first.gradient_norm == pytest.approx(record.gradient_norm / 2, rel=1e-6)
    between, start = stepper.state(), weights()
    assert [name for name in between if name.startswith("moment1/")] == []
    assert {f"accumulated/{name}" for name in trainable_names(MODEL)} <= between.keys()
    assert all(np.array_equal(between[f"parameter/{name}"], start[name]) for name in trainable_names(MODEL))
    for another in (False, True):
        if another:
            stepper = trainer(framework)
            stepper.load(between)
        assert half(stepper, last=True).gradient_norm == pytest.approx(record.gradient_norm, rel=1e-6)
        after = stepper.state()
        assert not [name for name in after if name.startswith("accumulated/")]
        assert trained(after) == whole


def test_a_group_with_the_rate_zero_is_frozen(framework):
    """Its parameters have no gradient, no moment and no share in the norm, and stay so after loading a state."""
    norm, start = trainer(framework).step(batch(), RATES, 0.5).gradient_norm, weights()
    groups = (ParameterGroup("backbone", lr=0.0, weight_decay=0.1), ParameterGroup("", lr=1e-3, weight_decay=0.1))
    stepper = trainer(framework, replace(SPEC, recipe=replace(SPEC.recipe, groups=groups)))
    frozen = {name for name in trainable_names(MODEL) if "backbone" in name}
    for step in range(2):
        record = stepper.step(batch(), [0.0, 1e-3], 0.5)
        assert step or record.gradient_norm < norm
        state = stepper.state()
        moved = {name for name in trainable_names(MODEL) if (state[f"parameter/{name}"] != start[name]).any()}
        assert moved == set(trainable_names(MODEL)) - frozen
        assert {name for name in state if name.startswith("moment1/")} == {f"moment1/{name}" for name in moved}
        stepper.load(state)


def test_counters_of_the_norms_go_on(framework):
    """Batch norms count their batches from the number that the weights have."""
    given = weights()
    counters = [name for name in given if name.endswith("num_batches_tracked")]
    given |= {name: np.full_like(given[name], 7) for name in counters}
    stepper = framework.trainer(SPEC, given, device="cpu")
    for count in (7, 8):
        state = stepper.state()
        assert counters and {int(state[f"parameter/{name}"]) for name in counters} == {count}
        stepper.step(batch(), RATES, 0.5)
