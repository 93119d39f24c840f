"""Training steps that the other subjects never take: warm-up of unequal groups, no clipping, missing gradients.

All in float64 on the CPU: what they show is a matter of formulas. The last test binds them, and all other traces of
steps, to training: the trainer computes what the trace says, to the bit.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import frameworks
from frameworks.arrays import Arrays
from frameworks.config import ParameterGroup
from frameworks.judge.decisions import forced_at_every_step, updates
from frameworks.protocol import Case
from frameworks.shared.schedules import ema_decay, learning_rates
from frameworks.state.parameters import trainable_names
from parity_tests.agreement import assert_same_function
from parity_tests.cases import contract, subjects
from parity_tests.cases.subjects import Subject
from parity_tests.culprits import CulpritSearch
from parity_tests.traces import TRUTH, Traces, compared

STEPS = 3
# No two rates and decays are equal, none is reached before the warm-up ends, and the average moves visibly. With
# the usual eps, unclipped gradients that are analytically zero would move their parameters by rounding alone.
GROUPS = (
    ParameterGroup("backbone", lr=1e-4, weight_decay=0.2),
    ParameterGroup("norm|bias", lr=3e-4, weight_decay=0.0),
    ParameterGroup("", lr=2e-4, weight_decay=0.1),
)
WARM_UP = {"groups": GROUPS, "warmup_steps": 4, "ema_decay": 0.9, "ema_warmup_steps": 2, "eps": 1e-6}
UNREACHED = 1e4  # a norm that no gradient here has


def warm_up() -> Subject:
    """Four updates of warm-up, of which three are taken."""
    return changed("tiny", "warm-up", recipe=WARM_UP)


def missing_gradients() -> Subject:
    """Only box losses, so that no gradient reaches the score heads; and a norm that is not clipped."""
    return changed(
        "tiny", "unclipped", recipe={**WARM_UP, "clip_max_norm": UNREACHED}, criterion={"losses": ("boxes",)}
    )


def invalid_anchors() -> Subject:
    """Sixteen anchors next to the left and right edge are invalid, and all of them are among the 20 queries."""
    subject = changed("tiny", "invalid anchors", recipe={**WARM_UP, "clip_max_norm": 0.0})
    decoder = replace(subject.spec.model.decoder, eps=0.045)
    spec = replace(subject.spec, model=replace(subject.spec.model, decoder=decoder))
    return replace(subject, spec=spec, seed=INVALID_SEED, size_hw=(64, 96))


INVALID_SEED = "invalid-16"
RARE = {"warm-up": warm_up, "missing gradients": missing_gradients, "invalid anchors": invalid_anchors}


def changed(base: str, name: str, recipe: dict[str, Any], criterion: dict[str, Any] | None = None) -> Subject:
    """A subject with another recipe and other losses."""
    subject = subjects.subject(base)
    spec = replace(subject.spec, name=name, recipe=replace(subject.spec.recipe, **recipe))
    spec = replace(spec, criterion=replace(spec.criterion, **(criterion or {})))
    return replace(subject, name=f"{base}, {name}", spec=spec)


def norms(trace: Arrays) -> list[float]:
    """Norm of the gradients before clipping, at every step."""
    return [float(trace[f"step{step}/gradient_norm/total"]) for step in range(STEPS)]


@pytest.mark.parametrize("name", RARE)
def test_rare_steps(name, traces: Traces, record):
    """Losses, costs and matchings at every step, then update, moments, EMA and norm statistics."""
    subject = RARE[name]()
    case, inputs, weights = subjects.steps_case(subject, STEPS), subject.training_inputs(), subject.weights()
    truth = traces.run(case, subject, inputs, *TRUTH)
    if name == "invalid anchors":  # equal tokens have equal scores, and their order is nobody's promise
        inputs |= forced_at_every_step(truth, STEPS)
    traced = traces.run_all(case, subject, inputs, "float64", "cpu")
    outputs = {framework: updates(trace, weights) for framework, trace in traced.items()}
    setting, search = record(subject, f"{STEPS} steps", "float64", "cpu"), CulpritSearch(traces, subject)
    assert_same_function(outputs, updates(truth, weights), setting, search=search)


def test_predictions_that_no_loss_reads_have_zero_gradients(traces: Traces, record):
    """Zeros in every framework: one that leaves them out would be blamed for a fault elsewhere."""
    subject = missing_gradients()
    truth = traces.replay(subject, "criterion", *TRUTH)
    outputs = {
        name: traces.replay(subject, "criterion", name, "float64", "cpu") for name in compared("float64", "cpu")
    }
    assert not truth["gradient_input/prediction/pred_logits"].any()
    assert_same_function(outputs, truth, record(subject, "criterion", "float64", "cpu"))


def test_the_cases_are_what_they_claim(traces: Traces):
    """Else they would compare once more what others compare."""
    found = {}
    for name, make in RARE.items():
        subject = make()
        case = subjects.steps_case(subject, STEPS)
        found[name] = traces.run(case, subject, subject.training_inputs(), *TRUTH)
    recipe = warm_up().spec.recipe
    assert all(len(set(learning_rates(recipe, step, epoch=0))) == len(GROUPS) for step in range(STEPS))
    assert max(learning_rates(recipe, STEPS - 1, epoch=0)) < max(group.lr for group in GROUPS)
    assert min(norms(found["warm-up"])) > recipe.clip_max_norm
    missing = found["missing gradients"]
    assert max(norms(missing)) < UNREACHED
    assert not any(f"moment1/decoder.{kind}_score_head" in name for name in missing for kind in ("enc", "dec"))
    h, w = (side // 8 for side in invalid_anchors().size_hw)
    topk_BQ = found["invalid anchors"]["step0/select/topk"]
    invalid_BQ = (topk_BQ < h * w) & np.isin(topk_BQ % w, (0, w - 1))
    assert (invalid_BQ.sum(axis=1) == 2 * h).all()


@pytest.mark.parametrize("framework", frameworks.ADAPTERS)
def test_the_first_average_is_that_of_the_formula(framework, traces: Traces):
    """Both twins ask one schedule; its value is here as in the official code, decay (1 - exp(-n / warm-up))."""
    subject = warm_up()
    trace = traces.run(
        subjects.steps_case(subject, 1), subject, subject.training_inputs(), framework, "float64", "cpu"
    )
    decay = WARM_UP["ema_decay"] * (1 - np.exp(-1 / WARM_UP["ema_warmup_steps"]))
    for name in trainable_names(subject.spec.model):
        start, after = subject.weights()[name].astype(np.float64), trace[f"parameter/{name}"]
        np.testing.assert_allclose(
            trace[f"ema/{name}"], decay * start + (1 - decay) * after, rtol=1e-12, atol=1e-15
        )


@pytest.mark.parametrize("framework", frameworks.ADAPTERS)
def test_what_is_trained_is_what_the_spec_says(framework, traces: Traces):
    """Frozen stages, norms and offsets of discrete sampling (frozen in the official code) have no moments."""
    subject = subjects.subject("tiny_dla")
    case = subjects.steps_case(subject, 1)
    trace = traces.run(case, subject, subject.training_inputs(), framework, "float64", "cpu")
    moved = {name.removeprefix("moment1/") for name in trace if name.startswith("moment1/")}
    assert moved == set(trainable_names(subject.spec.model))
    assert not any("sampling_offsets" in name for name in moved)


@pytest.mark.parametrize("question", ["loss", "steps"])
def test_a_step_is_a_training_pass(question):
    with pytest.raises(ValueError, match="training=True"):
        Case(question, contract.SPEC)


@pytest.mark.parametrize("framework", frameworks.ADAPTERS)
def test_the_trainer_computes_what_the_trace_says(framework, traces: Traces):
    """Two steps in float32, through the worker: numbers, parameters, moments and averages, to the bit."""
    subject = Subject(
        "contract", replace(contract.SPEC, recipe=warm_up().spec.recipe), contract.SEED, (64, 64), (3, 2)
    )
    case, batch = subjects.steps_case(subject, 2), contract.batch()
    trace = traces.run(case, subject, batch, framework, "float32", "cpu")
    stepper = traces.workers.get(framework, "cpu").trainer(subject.spec, subject.weights(), device="cpu")
    recipe = subject.spec.recipe
    for step in range(2):
        done = stepper.step(batch, learning_rates(recipe, step, epoch=0), ema_decay(recipe, step + 1))
        assert done.gradient_norm == float(trace[f"step{step}/gradient_norm/total"])
        assert done.total == float(trace[f"step{step}/loss/total"])
    state = stepper.state()
    assert {name for name in trace if not name.startswith("step0/") and not name.startswith("step1/")} == set(state)
    different = [name for name, array in state.items() if array.tobytes() != trace[name].tobytes()]
    assert not different, f"{len(different)} of {len(state)} arrays, the first: {different[:3]}"
