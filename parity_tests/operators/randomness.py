"""Random numbers, by what can be said of any generator: bounds, moments, dtypes, no repetition."""

import numpy as np
import torch

from parity_tests.operators.operator import Operator

COUNT = 20000
NOTHING: dict[str, tuple[np.ndarray, ...]] = {"20,000 numbers": ()}
TRUE = np.asarray([True, True, True])


def spread(numbers, low, high, mean, deviation):
    """Whether all are in [low, high), mean and deviation are right (to five standard errors), and few repeat."""
    numbers = np.asarray(numbers, np.float64)
    error = 5 * deviation / np.sqrt(COUNT)
    right = abs(numbers.mean() - mean) < error and abs(numbers.std() - deviation) < error
    return np.asarray([numbers.min() >= low and numbers.max() < high, right, len(np.unique(numbers)) > 0.9 * COUNT])


def share(numbers, expected):
    """Whether the share of ones is right, and there is nothing but zeros and ones."""
    numbers = np.asarray(numbers, np.float64)
    return np.asarray([abs(numbers.mean() - expected) < 0.02, set(np.unique(numbers)) == {0.0, 1.0}])


UNIFORM, NORMAL = (0, 1, 0.5, 12**-0.5), (-6, 6, 0, 1)

OPERATORS = [
    Operator(
        "rand",
        truth=lambda: TRUE,
        torch=lambda: spread(torch.rand(COUNT), *UNIFORM),
        jittor=lambda jt: spread(jt.rand(COUNT).numpy(), *UNIFORM),
        inputs=NOTHING,
    ),
    Operator(
        "randn",
        truth=lambda: TRUE,
        torch=lambda: spread(torch.randn(COUNT), *NORMAL),
        jittor=lambda jt: spread(jt.randn(COUNT).numpy(), *NORMAL),
        inputs=NOTHING,
    ),
    Operator(
        "rand in float64",
        truth=lambda: TRUE,
        torch=lambda: spread(torch.rand(COUNT, dtype=torch.float64), *UNIFORM),
        jittor=lambda jt: spread(jt.rand(COUNT, dtype="float64").numpy(), *UNIFORM),
        inputs=NOTHING,
    ),
    Operator(
        "normal with mean and deviation",
        truth=lambda: TRUE,
        torch=lambda: spread(torch.normal(3.0, 2.0, (COUNT,)), -9, 15, 3, 2),
        jittor=lambda jt: spread(jt.normal(3.0, 2.0, (COUNT,)).numpy(), -9, 15, 3, 2),
        inputs=NOTHING,
    ),
    Operator(
        "randint",
        truth=lambda: TRUE[:2],
        torch=lambda: share(torch.randint(0, 2, (COUNT,)), 0.5),
        jittor=lambda jt: share(jt.randint(0, 2, (COUNT,)).numpy(), 0.5),
        inputs=NOTHING,
    ),
    Operator(
        "randperm",
        truth=lambda: np.arange(1000),
        torch=lambda: torch.randperm(1000).sort().values,
        jittor=lambda jt: np.sort(jt.randperm(1000).numpy()),
        inputs=NOTHING,
    ),
    Operator(
        "bernoulli",
        truth=lambda: TRUE[:2],
        torch=lambda: share(torch.bernoulli(torch.full((COUNT,), 0.25)), 0.25),
        jittor=lambda jt: share(jt.bernoulli(jt.full((COUNT,), 0.25)).numpy(), 0.25),
        inputs=NOTHING,
    ),
    Operator(
        "multinomial",
        truth=lambda: TRUE[:2],
        torch=lambda: share(torch.multinomial(torch.tensor([0.75, 0.25]), COUNT, replacement=True), 0.25),
        jittor=lambda jt: share(jt.multinomial(jt.array([0.75, 0.25]), COUNT, replacement=True).numpy(), 0.25),
        inputs=NOTHING,
    ),
    Operator(
        "dropout in training",
        truth=lambda: np.asarray([True, True]),
        torch=lambda: share(torch.nn.functional.dropout(torch.ones(COUNT), 0.25) * 0.75, 0.75),
        jittor=lambda jt: share(
            jt.nn.dropout(jt.ones(COUNT), 0.25, is_train=True).numpy() * np.float32(0.75), 0.75
        ),
        inputs=NOTHING,
    ),
]
