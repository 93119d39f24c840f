"""Whole training steps: forward, losses, backward, clipping, AdamW and EMA, one step and five."""

import numpy as np
import pytest

from frameworks.arrays import Arrays
from frameworks.judge.decisions import forced_at_every_step, updates
from frameworks.shared.tolerances import POOLED
from parity_tests.agreement import DEVICES, DTYPES, assert_same_arithmetic, assert_same_function
from parity_tests.cases import subjects
from parity_tests.culprits import CulpritSearch
from parity_tests.traces import TRUTH, Traces

# Five float64 steps of r18vd take Jittor minutes. The fast session has one step of it and five of the small models.
SLOW = {
    ("rtdetr_r18vd", 5),
    *((name, count) for name in subjects.TINY if name not in subjects.FAST for count in (1, 5)),
}
STEPS = [
    pytest.param(name, count, marks=[pytest.mark.zoo] * ((name, count) in SLOW))
    for name in dict.fromkeys((*subjects.FAST, *subjects.TINY))
    for count in (1, 5)
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "count"), STEPS)
def test_steps(name, count, dtype, device, traces: Traces, record):
    """Whole training steps: losses at every step, then update, moments, EMA and norm statistics."""
    subject = subjects.subject(name)
    if dtype == "float32" and count > 1 and subject.spec.model.decoder.cross_attn_method == "discrete":
        pytest.skip("float32 steps of discrete sampling: a location next to a pixel's edge takes the neighbour")
    case, inputs, weights = subjects.steps_case(subject, count), subject.training_inputs(), subject.weights()
    truth = traces.run(case, subject, inputs, *TRUTH)
    if dtype == "float32":  # a different top-k choice would make the steps incomparable
        inputs |= forced_at_every_step(truth, count)
    traced = traces.run_all(case, subject, inputs, dtype, device)
    outputs = {framework: updates(trace, weights) for framework, trace in traced.items()}
    truth, setting = updates(truth, weights), record(subject, f"{count} steps", dtype, device)
    if dtype == "float64":
        assert_same_function(outputs, truth, setting, search=CulpritSearch(traces, subject))
    else:
        outputs = {framework: pooled(trace) for framework, trace in outputs.items()}
        assert_same_arithmetic(outputs, pooled(truth), setting, search=CulpritSearch(traces, subject))


def pooled(trace: Arrays) -> Arrays:
    """All tensors of a kind as one vector, the form in which float32 steps are compared.

    AdamW's first update is nearly lr * sign(gradient), so in float32 the update of one tensor depends on the signs
    of its smallest gradients (docs/method.md, "Pooled steps"). Over all 20 million numbers the share of such signs
    is a property of the arithmetic and can be compared. test_optimizer compares single tensors on identical
    gradients; test_own_decisions compares the discrete decisions.
    """
    kinds: dict[str, list[np.ndarray]] = {}
    for name, array in sorted(trace.items()):
        if array.dtype.kind == "f" and "/match/" not in name and "/select/" not in name:
            step, _, rest = name.rpartition("/loss/")
            kind = f"{step}/loss" if rest and step else name.partition("/")[0]
            if name.startswith("step") and "/loss/" not in name:
                continue
            kinds.setdefault(kind, []).append(array.astype(np.float64).ravel())
    return {f"{kind}/{POOLED}": np.concatenate(parts) for kind, parts in kinds.items()}
