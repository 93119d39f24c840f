"""Every C++ operator of the Jittor twin against its formula: values, gradients, and the same bits twice."""

import os
from importlib.machinery import PathFinder

import numpy as np
import pytest

import frameworks
from frameworks.protocol import DEVICE_VARIABLE
from frameworks.shared.kernels import VARIABLE

pytestmark = [
    pytest.mark.skipif(PathFinder.find_spec("jittor") is None, reason="Jittor is not installed here"),
    pytest.mark.skipif(os.environ.get(DEVICE_VARIABLE, "cpu") != "cpu", reason="Jittor is not on CPU here"),
]
LIMIT = {"float64": 1e-12, "float32": 1e-5}  # relative to the largest element of an array


@pytest.fixture(scope="module")
def jt():
    framework = frameworks.load("jittor")
    assert framework.supports("cpu", "float64") is None
    import jittor

    return jittor


@pytest.fixture(params=["float64", "float32"])
def both_ways(jt, request, monkeypatch):
    """Checks value and gradients of a function of drawn arrays by kernels against those by formulas."""

    def compute(kernels, function, arrays):
        monkeypatch.setenv(VARIABLE, kernels)
        leaves = [jt.array(a) for a in arrays]
        results = function(*leaves)
        results = list(results) if isinstance(results, list | tuple) else [results]
        cotangent = np.random.default_rng(1).normal(size=tuple(results[0].shape)).astype(request.param)
        gradients = jt.grad((results[0] * jt.array(cotangent)).sum(), leaves)
        return [v.numpy() for v in (*results, *gradients)]

    def check(function, *shapes):
        drawn = np.random.default_rng(0)
        arrays = [drawn.normal(0.7, 2, shape).astype(request.param) for shape in shapes]
        wanted = compute("reference", function, arrays)
        found, again = compute("fast", function, arrays), compute("fast", function, arrays)
        for a, b, c in zip(wanted, found, again, strict=True):
            np.testing.assert_allclose(b, a, rtol=0, atol=LIMIT[request.param] * max(np.abs(a).max(), 1))
            np.testing.assert_array_equal(b, c)

    return check


# Kernel, stride, padding, groups; more places than a block of the product has, and numbers that 4 does not divide.
@pytest.mark.parametrize("layer", [(3, 1, 1, 1), (3, 2, 1, 3), (1, 1, 0, 1), (2, 1, 0, 6), (5, 2, 2, 2)])
def test_convolution(jt, both_ways, layer):
    from frameworks.jittor_rtdetr.native.convolution import Convolution
    from frameworks.jittor_rtdetr.native.kernel import in_use

    kernel, stride, padding, groups = layer

    def convolution(x, weight):
        if in_use():
            return Convolution.apply(x, weight, stride, padding, groups)
        return jt.nn.conv2d(x, weight, None, stride, padding, 1, groups)

    both_ways(convolution, (2, 6, 19, 21), (12, 6 // groups, kernel, kernel))


@pytest.mark.parametrize("shape", [(3, 5, 12), (2, 1)])
def test_softmax(both_ways, shape):
    from frameworks.jittor_rtdetr.operators import softmax

    both_ways(softmax, shape)


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize(("queries", "keys"), [(5, 7), (150, 150)])  # one block of rows, and two
def test_attention(jt, both_ways, queries, keys, blocked):
    from frameworks.jittor_rtdetr.operators import attention

    hidden = np.random.default_rng(2).random((queries, keys)) < 0.3
    mask = jt.array(hidden).stop_grad() if blocked else None
    both_ways(lambda q, k, v: attention(q, k, v, mask, 2), (2, queries, 8), (2, keys, 8), (2, keys, 8))


@pytest.mark.parametrize("act", [None, "relu", "silu", "gelu"])
def test_batch_norm(both_ways, act):
    from frameworks.jittor_rtdetr.operators import batch_norm

    both_ways(lambda x, weight, bias: batch_norm(x, weight, bias, 1e-5, act), (3, 4, 5, 7), (4,), (4,))


@pytest.mark.parametrize("act", [None, "relu", "silu", "gelu"])
def test_fixed_norm(jt, both_ways, act):
    from frameworks.jittor_rtdetr.operators import fixed_norm

    constants = np.abs(np.random.default_rng(3).normal(1, 1, (4, 4)))

    def norm(x):
        weight, bias, mean, var = (jt.array(c.astype(str(x.dtype))).stop_grad() for c in constants)
        return fixed_norm(x, weight, bias, mean, var, 1e-5, act)

    both_ways(norm, (3, 4, 5, 7))


@pytest.mark.parametrize("act", [None, "relu", "gelu"])
@pytest.mark.parametrize(("inputs", "outputs"), [(6, 5), (1024, 3), (3, 1024)])  # 1024: columns 4 KB apart
def test_linear(both_ways, inputs, outputs, act):
    from frameworks.jittor_rtdetr.operators import linear

    both_ways(lambda x, w, b: linear(x, w, b, act), (2, 35, inputs), (outputs, inputs), (outputs,))


@pytest.mark.parametrize("dtype", LIMIT)
def test_a_linear_layer_of_no_rows_has_zero_gradients(jt, dtype, monkeypatch):
    """oneDNN's product over no terms leaves its result as it was: memory of something before."""
    from frameworks.jittor_rtdetr.operators import linear

    monkeypatch.setenv(VARIABLE, "fast")
    before = jt.array(np.full((64, 64), 7, dtype))
    assert (before + 1).numpy().max() == 8  # so that freed memory is not zero
    x, weight, bias = (jt.array(np.ones(shape, dtype)) for shape in ((0, 64), (64, 64), (64,)))
    del before
    for gradient in jt.grad(linear(x, weight, bias, None).sum(), [weight, bias]):
        assert not gradient.numpy().any()


def test_layer_norm(both_ways):
    from frameworks.jittor_rtdetr.operators import layer_norm

    both_ways(lambda x, weight, bias: layer_norm(x, weight, bias, 1e-5), (2, 50, 24), (24,), (24,))


@pytest.mark.parametrize("count", [10, 40_000])  # one thread, and all of them
def test_updates(jt, monkeypatch, count):
    """Clipping, AdamW and average are held to their formulas element by element."""
    from frameworks.jittor_rtdetr import operators

    drawn = np.random.default_rng(4)
    p, m, v, g = (jt.array(x) for x in (*drawn.normal(size=(2, count)), *drawn.random((2, count))))
    names = ("beta1", "rest1", "beta2", "rest2", "root_correction", "eps", "kept", "rate")
    values = (0.9, 0.1, 0.999, 0.001, 0.3, 1e-8, 0.99, 0.01)
    numbers: dict[str, float] = dict(zip(names, values, strict=True))
    results = []
    for kernels in ("reference", "fast", "fast"):
        monkeypatch.setenv(VARIABLE, kernels)
        computed = operators.adamw(p, m, v, g, numbers)
        computed += [
            operators.scaled(p, v[:1]),
            operators.weighted_mean(p, g, 0.25),
            operators.sum_of_squares([p, g]),
        ]
        results.append([x.numpy() for x in computed])
    for wanted, found, again in zip(*results, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-15)
        np.testing.assert_array_equal(found, again)


def test_exponential_is_exact_to_a_unit_in_the_last_place(jt):
    """Through the softmax of [x, 0], which is exp(x) / (exp(x) + 1) for x below zero, denormal results included."""
    from frameworks.jittor_rtdetr.operators import softmax

    x = np.concatenate([np.linspace(-20, 0, 2001), [-87.0, -90.0, -103.0, -150.0, -np.inf]]).astype(np.float32)
    found = softmax(jt.array(np.stack([x, np.zeros_like(x)], 1))).numpy()[:, 0]
    power = np.exp(x.astype(np.float64))
    np.testing.assert_allclose(found, power / (power + 1), rtol=4e-7, atol=1.5e-45)
    assert np.isnan(softmax(jt.array(np.asarray([[np.nan, 0.0]], np.float32))).numpy()).all()


def test_reference_is_the_formula(jt, monkeypatch):
    """The comparisons above would pass without a word if both ways led to the same code."""
    from frameworks.jittor_rtdetr.native.kernel import in_use

    monkeypatch.setenv(VARIABLE, "reference")
    assert not in_use()
    monkeypatch.setenv(VARIABLE, "fast")
    assert in_use()
