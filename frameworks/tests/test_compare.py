"""What the judge measures a tensor against, and what float32 allows."""

import numpy as np
import pytest

from frameworks.arrays import Arrays
from frameworks.judge.compare import Comparison, compare, compare_float32
from frameworks.shared.tolerances import FLOAT32_CEILING, FLOAT32_KINKS, POOLED, float32_limit, float64_limit

ZERO = "encoder.input_proj.0.1.bias"  # listed in tolerances.ANALYTIC_ZEROS
MODULES = ("backbone.stage", "decoder.head", "decoder.last")


def judged(candidate: Arrays, truth: Arrays, name: str) -> Comparison:
    """The comparison of one tensor in float64."""
    return next(c for c in compare(truth | candidate, truth, float64_limit) if c.tensor == name)


@pytest.mark.parametrize("small", ["moment2/backbone.a", "steps/backbone.a", "update/backbone.a"])
@pytest.mark.parametrize("factor", [0.0, 1.01])
def test_a_small_tensor_is_measured_against_its_own_norm(small, factor):
    """Beside first moments, numbers of steps and running statistics that are larger by far."""
    truth = {name: np.full(4, 1e9) for name in ("moment1/backbone.b", "steps/backbone.b")}
    truth |= {small: np.full(4, 1e-9), "update/backbone.bn.running_var": np.full(4, 1e9)}
    assert not judged({small: factor * truth[small]}, truth, small).passed


@pytest.mark.parametrize("kind", ["gradient", "moment1", "moment2", "update"])
def test_a_listed_zero_is_measured_against_the_largest_of_its_kind(kind):
    name, size = f"{kind}/{ZERO}", 1e-17 ** (2 if kind == "moment2" else 1)
    truth = {name: np.full(2, size), f"{kind}/decoder.x": np.ones(2), f"{kind}/bn.running_var": np.full(2, 1e30)}
    found = judged({name: np.full(2, -size)}, truth, name)
    assert found.passed and "analytically zero" in found.note
    assert not judged({name: np.full(2, 1e-7)}, truth, name).passed


def test_a_listed_tensor_that_is_not_zero_is_measured_against_its_own_norm():
    truth = {f"gradient/{ZERO}": np.full(2, 1e-3), "gradient/decoder.x": np.ones(2)}
    found = judged({f"gradient/{ZERO}": np.full(2, 1.01e-3)}, truth, f"gradient/{ZERO}")
    assert found.error == pytest.approx(0.01) and not found.note


def test_zeros_of_one_step_are_not_measured_by_another():
    truth = {f"step0/gradient/{ZERO}": np.full(2, 1e-12), "step0/gradient/x": np.full(2, 1e-10)}
    truth |= {"step1/gradient/x": np.ones(2)}
    name = f"step0/gradient/{ZERO}"
    assert judged({name: np.full(2, 2e-12)}, truth, name).error == pytest.approx(1.0)


def test_single_numbers_share_the_largest_error_of_their_stage():
    """One of them is right by luck."""
    truth = {"loss/a": np.ones(()), "loss/b": np.ones(()), "loss/c": np.ones(2)}
    lucky = {"loss/a": np.ones(()), "loss/b": np.full((), 1 + 1e-5), "loss/c": np.ones(2)}
    found = {c.tensor: c for c in compare_float32({n: a + 5e-5 for n, a in truth.items()}, [lucky], truth)}
    assert [found[f"loss/{name}"].passed for name in "abc"] == [True, True, False]


def test_no_float32_limit_accepts_zeros():
    for stage, tensor in (("moments", f"moment1/{POOLED}"), ("backward", "gradient/x")):
        assert float32_limit(stage, tensor, 0.4) == FLOAT32_CEILING


def gradients() -> Arrays:
    """Gradients of the weight and the bias of three modules, 8 units each."""
    return {f"gradient/{module}.{leaf}": np.ones(8) for module in MODULES for leaf in ("weight", "bias")}


def failed(candidate: Arrays) -> set[str]:
    """Float32 gradients that fail beside a framework with an error of 1e-6."""
    truth = gradients()
    other = {name: array * (1 + 1e-6) for name, array in truth.items()}
    found = compare_float32(candidate, [other], truth, modules=MODULES, kinks=FLOAT32_KINKS)
    return {c.tensor.removeprefix("gradient/") for c in found if not c.passed}


def test_a_flipped_unit_allows_for_its_module_and_those_before():
    """One number of the bias differs, and with it everything behind the unit on the way back."""
    one, all_a_bit = np.where(np.arange(8) == 5, 1.05, 1.0), np.full(8, 1.01)
    flip = {"decoder.head.bias": one, "decoder.head.weight": one, "backbone.stage.weight": all_a_bit}
    changed = {f"gradient/{name}": array for name, array in flip.items()}
    assert failed(gradients() | changed) == set()
    assert failed(gradients() | changed | {"gradient/decoder.last.weight": all_a_bit}) == {"decoder.last.weight"}
    assert failed(gradients() | changed | {"gradient/backbone.stage.weight": 1.2 * all_a_bit}) == {
        "backbone.stage.weight"
    }


def test_a_whole_bias_that_is_off_is_no_flipped_unit():
    spoilt = {f"gradient/decoder.head.{leaf}": np.full(8, 1.01) for leaf in ("bias", "weight")}
    assert failed(gradients() | spoilt) == {"decoder.head.bias", "decoder.head.weight"}
