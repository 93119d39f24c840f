"""The matching solver against brute force over every assignment."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from frameworks.shared.hungarian import hungarian

COSTS = st.tuples(st.integers(1, 5), st.integers(0, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(-10, 10, allow_nan=False))
)


def cheapest(cost_QT: np.ndarray) -> float:
    """Smallest total of any one-to-one assignment of the shorter side."""
    short = cost_QT if cost_QT.shape[0] <= cost_QT.shape[1] else cost_QT.T
    choices = itertools.permutations(range(short.shape[1]), short.shape[0])
    return min(sum(short[i, j] for i, j in enumerate(choice)) for choice in choices)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(cost_QT=COSTS)
def test_no_assignment_is_cheaper(cost_QT):
    [(queries, targets)] = hungarian([cost_QT])
    assert len(queries) == len(targets) == min(cost_QT.shape)
    assert len(set(queries.tolist())) == len(queries) and len(set(targets.tolist())) == len(targets)
    assert cost_QT[queries, targets].sum() == pytest.approx(cheapest(cost_QT), abs=1e-9)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(cost_QT=COSTS)
def test_queries_come_in_increasing_order(cost_QT):
    [(queries, _)] = hungarian([cost_QT])
    assert queries.tolist() == sorted(queries.tolist())


def test_each_image_is_matched_on_its_own():
    first, second = np.asarray([[1.0, 0.0], [0.0, 1.0]]), np.asarray([[3.0], [1.0], [2.0]])
    (q0, t0), (q1, t1) = hungarian([first, second])
    assert (q0.tolist(), t0.tolist()) == ([0, 1], [1, 0])
    assert (q1.tolist(), t1.tolist()) == ([1], [0])


def test_indices_are_int64():
    for indices in hungarian([np.zeros((3, 2), np.float32), np.zeros((3, 0))]):
        assert [a.dtype for a in indices] == [np.int64, np.int64]


@pytest.mark.parametrize("shape", [(4, 0), (1, 0), (300, 0)])
def test_zero_targets_match_nothing(shape):
    [(queries, targets)] = hungarian([np.zeros(shape)])
    assert queries.shape == targets.shape == (0,)


def test_no_images_no_matchings():
    assert hungarian([]) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_cost_that_is_not_finite_is_an_error(bad):
    cost = np.zeros((3, 2))
    cost[1, 1] = bad
    with pytest.raises(FloatingPointError, match="matching cost of image 1: 1 of 6 entries not finite"):
        hungarian([np.zeros((3, 2)), cost])
