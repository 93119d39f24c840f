"""Every comparison can fail: a judge that is blind to a change is found, and what cannot be spoilt is counted.

``agreement.py`` spoils every tensor of every comparison of the session (``can_fail.count_spoilt``). These are the
tests of that check, on truths of the small models.
"""

import math
from unittest import mock

import numpy as np
import pytest

from frameworks.arrays import Arrays
from frameworks.judge import compare as judge
from frameworks.judge.decisions import updates
from frameworks.shared.stages import stage_of
from frameworks.shared.tolerances import NEGLIGIBLE, float64_limit
from parity_tests.can_fail import ANALYTIC, CONSTANT, EMPTY, INTEGER, ZERO, count_spoilt
from parity_tests.cases import subjects
from parity_tests.traces import TRUTH, Traces


def truth_of(name: str, question: str, traces: Traces) -> Arrays:
    """The truth of a training pass with all captures, or of one training step."""
    subject = subjects.subject(name)
    if question == "training":
        return traces.training(subject, *TRUTH)
    case = subjects.steps_case(subject, 1)
    return updates(traces.run(case, subject, subject.training_inputs(), *TRUTH), subject.weights())


@pytest.fixture(scope="module")
def steps(traces: Traces) -> Arrays:
    """Losses, updates, moments and averages after one step of ``tiny``."""
    return truth_of("tiny", "steps", traces)


# Subject and question -> gradients that are analytically zero. In a step each is also two moments and an update.
ZEROS = {
    ("tiny", "training"): 3,
    ("tiny_bottleneck", "training"): 3,
    ("tiny_hgnetv2", "training"): 5,
    ("tiny", "steps"): 3 * 3,
}


@pytest.mark.parametrize(("name", "question"), ZEROS)
def test_what_cannot_be_spoilt_is_counted_exactly(name, question, traces: Traces):
    """Single numbers, frozen parameters and images without objects; nothing else."""
    truth = truth_of(name, question, traces)
    counts, arrays = count_spoilt(truth, float64_limit, "float64"), truth.values()
    empty = sum(array.size == 0 for array in arrays)
    still = [array for array in arrays if array.size and not array.any()]
    single = sum(array.size == 1 for array in arrays) + sum(array.size > 1 for array in still)
    integers = sum(array.dtype.kind != "f" and bool(array.any()) for array in arrays)
    wanted = {
        "moved": len(truth) - empty,
        "permuted": len(truth) - empty - ZEROS[name, question] - single,
        "zeroed": len(truth) - empty - ZEROS[name, question] - len(still),
        "scaled": len(truth) - empty - ZEROS[name, question] - len(still) - integers,
        ANALYTIC: 3 * ZEROS[name, question],
        CONSTANT: single,
        EMPTY: 4 * empty,
        INTEGER: integers,
        ZERO: 2 * len(still),
    }
    assert counts == {reason: count for reason, count in wanted.items() if count}


def one_scale_for_a_stage(reference: Arrays) -> dict[str, judge.Yardstick]:
    """The rule of an earlier judge: small tensors of a stage were measured against its largest one."""
    norms = {name: float(np.linalg.norm(array.ravel())) for name, array in reference.items()}
    scales: dict[str, float] = {}
    for name, norm in norms.items():
        scales[stage_of(name)] = max(scales.get(stage_of(name), 0.0), norm)
    excused = {n: scales[stage_of(n)] for n, norm in norms.items() if norm < NEGLIGIBLE * scales[stage_of(n)]}
    return {name: judge.Yardstick(scale, 1, "small") for name, scale in excused.items()}


def test_a_judge_with_one_scale_for_all_moments_is_found(steps: Arrays):
    """It let second moments be zero."""
    moments = {name: array for name, array in steps.items() if "moment" in name}
    with (
        mock.patch.object(judge, "zero_yardsticks", one_scale_for_a_stage),
        pytest.raises(AssertionError) as failure,
    ):
        count_spoilt(moments, float64_limit, "float64")
    for way in ("moved", "zeroed", "scaled"):
        assert f"although {way}:" in str(failure.value) and "moment2/" in str(failure.value)


@pytest.mark.parametrize(
    ("function", "blind", "way"),
    [
        ("_flat", lambda array: np.sort(np.asarray(array, np.float64).ravel()), "permuted"),
        ("_ratio", lambda difference, norm: difference / norm / 1e12, "scaled"),
        ("_norm", lambda vector: 0.0, "zeroed"),
    ],
    ids=["sorted entries", "another unit", "no norm"],
)
def test_a_blind_measure_is_found(function, blind, way, steps: Arrays):
    with mock.patch.object(judge, function, blind), pytest.raises(AssertionError, match=f"although {way}:"):
        count_spoilt({n: array for n, array in steps.items() if "select" in n}, float64_limit, "float64")


def test_a_limit_that_rejects_nothing_is_found(steps: Arrays):
    def loose(stage: str, tensor: str) -> float:
        return 4.2 if tensor.startswith("moment1/") else float64_limit(stage, tensor)

    with pytest.raises(AssertionError, match=r"although zeroed:\n.*moment1/"):
        count_spoilt(steps, loose, "float64")
    with pytest.raises(AssertionError, match="although moved:"):
        count_spoilt({"loss/total": np.ones(())}, lambda stage, tensor: math.inf, "float64")
