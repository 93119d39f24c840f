"""Whole training steps: forward, losses, backward, clipping, AdamW and EMA, one step and five."""

import numpy as np
import pytest

from frameworks.arrays import Arrays
from parity_tests.agreement import DEVICES, DTYPES, hold_same_arithmetic, hold_same_function, require
from parity_tests.cases import subjects
from parity_tests.traces import Evidence

# Five float64 steps of r18vd take Jittor minutes; in the fast session one step of it and five of the small ones
# stand for them.
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
def test_steps(name, count, dtype, device, evidence: Evidence, judge):
    """Whole training steps: losses at every step, then update, moments, EMA and norm statistics."""
    require(evidence.twins, device, dtype)
    subject = subjects.subject(name)
    if dtype == "float32" and count > 1 and subject.spec.model.decoder.cross_attn_method == "discrete":
        pytest.skip("float32 steps of discrete sampling: a location next to a pixel's edge takes the neighbour")

    def answer(*where: str):
        return evidence.steps(subject, count, *where)

    if dtype == "float64":
        hold_same_function(judge, subject, f"{count} steps", device, answer)
    else:
        hold_same_arithmetic(judge, subject, f"{count} steps", device, lambda *where: pooled(answer(*where)))


def pooled(trace: Arrays) -> Arrays:
    """All tensors of a kind as one vector: what float32 can say about whole steps.

    AdamW's first steps are lr * sign(gradient), so one tensor's update is a matter of the signs of its
    smallest gradients (PITFALLS; test_optimizer holds it tensor by tensor on identical gradients). Over all
    20 million numbers the share of such signs is a property of the arithmetic, and can be compared.
    Discrete decisions have their own test.
    """
    kinds: dict[str, list[np.ndarray]] = {}
    for name, array in sorted(trace.items()):
        if array.dtype.kind == "f" and "/match/" not in name and "/select/" not in name:
            step, _, rest = name.rpartition("/loss/")
            kind = f"{step}/loss" if rest and step else name.partition("/")[0]
            if name.startswith("step") and "/loss/" not in name:
                continue
            kinds.setdefault(kind, []).append(array.astype(np.float64).ravel())
    return {f"{kind}/all tensors together": np.concatenate(parts) for kind, parts in kinds.items()}
