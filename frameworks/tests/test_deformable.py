"""Deformable attention's sampling in C++ against each twin's own formula: values and gradients.

Both twins compile the same source, so that comparing the twins could miss a mistake in it. These tests cannot: the
formulas are written twice and share nothing with it.
"""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import frameworks
from frameworks.arrays import Arrays
from frameworks.errors import UserError
from frameworks.native import library
from frameworks.shared import kernels

TWINS = ("torch", "jittor")
METHODS = ("default", "discrete")
NAMES = ("mixed", "value", "locations", "weights")  # the result and the gradients
LEVELS = {  # maps and the points on each
    "one map": ([(3, 4)], (2,)),
    "three maps": ([(8, 8), (2, 4), (1, 1)], (3, 1, 2)),
    "a map without points": ([(2, 4), (1, 2)], (3, 0)),
}


def inputs(levels: str, batch: int, width: int, queries: int = 6) -> Arrays:
    """Drawn inputs; the first queries sample on centres, edges and corners of pixels, outside and far outside."""
    shapes, points = LEVELS[levels]
    rng = np.random.Generator(np.random.PCG64(3))
    heads, total = 2, sum(points)
    locations = rng.uniform(-0.3, 1.3, (batch, queries, heads, total, 2))
    if queries:
        pixels_K2 = np.repeat([(w, h) for h, w in shapes], points, axis=0)
        locations[:, 0] = (rng.integers(0, pixels_K2, (batch, heads, total, 2)) + 0.5) / pixels_K2
        locations[:, 1] = rng.integers(0, 2, (batch, heads, total, 2))
        locations[:, 2] = rng.integers(-1, pixels_K2 + 2, (batch, heads, total, 2)) / pixels_K2
        locations[:, 3] *= 1e6
    return {
        "value": rng.standard_normal((batch, sum(h * w for h, w in shapes), heads, width)),
        "locations": locations,
        "weights": rng.uniform(-1, 1, (batch, queries, heads, total)),
        "cotangent": rng.standard_normal((batch, queries, heads, width)),
    }


@pytest.fixture(params=TWINS)
def run(request, monkeypatch) -> Callable[..., Arrays]:
    """``run(path, levels, method, arrays)``: result and gradients of one twin on the fast or the reference path."""
    return functools.partial({"torch": run_torch, "jittor": run_jittor}[request.param], monkeypatch)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Iterator[Path]:
    """An empty cache folder for compiled libraries."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.load.cache_clear()
    (tmp_path / "twin-detr").mkdir()
    yield tmp_path / "twin-detr" / "native"
    library.load.cache_clear()


def run_torch(monkeypatch, path: str, levels: str, method: str, arrays: Arrays) -> Arrays:
    import torch

    from frameworks.torch_rtdetr import attention

    monkeypatch.setenv(kernels.VARIABLE, path)
    leaves = [torch.from_numpy(arrays[name]).requires_grad_() for name in NAMES[1:]]
    shapes, points = LEVELS[levels]
    mixed = attention.mix_levels(leaves[0], leaves[1], leaves[2], shapes, points, method)
    cotangent = torch.from_numpy(arrays["cotangent"])
    gradients = torch.autograd.grad(mixed, leaves, cotangent, allow_unused=True, materialize_grads=True)
    return {name: x.detach().numpy() for name, x in zip(NAMES, (mixed, *gradients), strict=True)}


def run_jittor(monkeypatch, path: str, levels: str, method: str, arrays: Arrays) -> Arrays:
    assert frameworks.load("jittor").supports("cpu", "float64") is None
    import jittor as jt

    from frameworks.jittor_rtdetr import attention

    monkeypatch.setenv(kernels.VARIABLE, path)
    leaves = [jt.array(arrays[name]) for name in NAMES[1:]]
    shapes, points = LEVELS[levels]
    mixed = attention.mix_levels(leaves[0], leaves[1], leaves[2], shapes, points, method)
    cotangent: Any = jt.array(arrays["cotangent"])
    gradients = jt.grad(mixed * cotangent, leaves)
    return {name: x.numpy() for name, x in zip(NAMES, (mixed, *gradients), strict=True)}


def assert_close(found: Arrays, expected: Arrays, limit: float) -> None:
    for name in NAMES:
        assert found[name].dtype == expected[name].dtype and found[name].shape == expected[name].shape
        scale = max(1.0, np.abs(expected[name]).max(initial=0))
        assert np.abs(found[name] - expected[name]).max(initial=0) <= limit * scale, name


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("levels", "batch", "width"), [("one map", 1, 32), ("three maps", 3, 5)])
def test_same_function_in_float64(run, levels, batch, width, method):
    arrays = inputs(levels, batch, width)
    if method == "discrete":
        arrays["locations"][:, 3] = 2.0  # far outside: Jittor's formula overflows int32 and has no answer
    expected = run("reference", levels, method, arrays)
    assert all(np.abs(expected[name]).max() > 0.1 for name in NAMES if (name, method) != ("locations", "discrete"))
    assert_close(run("fast", levels, method, arrays), expected, 1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_same_arithmetic_in_float32(run, method):
    """The maps' sizes are powers of two, so that centres and edges of pixels are exact in float32 too."""
    arrays = {name: array.astype(np.float32) for name, array in inputs("three maps", 2, 32).items()}
    arrays["locations"][:, 3] = 2.0
    expected = run("reference", "three maps", method, arrays)
    assert_close(run("fast", "three maps", method, arrays), expected, 2e-6)


@pytest.mark.parametrize(("levels", "queries"), [("a map without points", 6), ("one map", 0)])
def test_empty_parts(run, levels, queries):
    found = run("fast", levels, "default", inputs(levels, 2, 4, queries))
    if not queries:
        assert found["mixed"].shape == (2, 0, 2, 4) and not found["value"].any()
    else:
        assert_close(found, run("reference", levels, "default", inputs(levels, 2, 4, queries)), 1e-12)


def test_a_fault_in_the_source_is_seen(run, cache, monkeypatch):
    """x and y exchanged, in a copy of the source that both twins then compile."""
    from frameworks.jittor_rtdetr import deformable

    for file in library.FOLDER.glob("deformable_attention.*"):
        text = file.read_text("utf-8").replace("2 * location[0] - 1 + 1", "2 * location[1] - 1 + 1")
        (cache.parent / file.name).write_text(text, "utf-8")
    monkeypatch.setattr(library, "FOLDER", cache.parent)
    monkeypatch.setattr(deformable, "HEADER", (cache.parent / "deformable_attention.h").read_text("utf-8"))
    with pytest.raises(AssertionError, match="mixed"):
        test_same_function_in_float64(run, "three maps", 1, 5, "default")


def test_two_runs_are_equal_to_the_last_bit(run):
    arrays = {name: array.astype(np.float32) for name, array in inputs("three maps", 3, 32, 40).items()}
    first, second = (run("fast", "three maps", "default", arrays) for _ in range(2))
    assert all(first[name].tobytes() == second[name].tobytes() for name in NAMES)


def test_locations_that_are_no_place_give_nan_as_in_the_formula(run):
    arrays = inputs("three maps", 1, 4, 7)
    arrays["locations"][0, 4:7, 0, 0, 0] = np.nan, np.inf, -np.inf
    found, expected = (run(path, "three maps", "default", arrays)["mixed"] for path in ("fast", "reference"))
    assert np.isnan(expected[0, 4:7, 0]).all() and np.isfinite(expected[0, :, 1]).all()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    discrete = run("fast", "three maps", "discrete", arrays)
    assert np.isfinite(discrete["mixed"]).all() and np.isfinite(discrete["value"]).all()


@pytest.mark.parametrize("path", kernels.CHOICES)
def test_a_map_higher_than_wide_is_refused_by_discrete_sampling(run, path, monkeypatch):
    monkeypatch.setitem(LEVELS, "high", ([(3, 2)], (1,)))
    with pytest.raises(UserError, match="3 x 2"):
        run(path, "high", "discrete", inputs("high", 1, 2))


@pytest.mark.parametrize("wrong", ["levels", "locations", "dtype"])
def test_arrays_that_do_not_fit_are_refused(run, wrong, monkeypatch):
    """C++ would read outside of them."""
    arrays = inputs("one map", 2, 2)
    if wrong == "levels":
        monkeypatch.setitem(LEVELS, "one map", ([(5, 4)], (2,)))
    elif wrong == "locations":
        arrays["locations"] = arrays["locations"][:1]
    else:
        arrays["weights"] = arrays["weights"].astype(np.float32)
    with pytest.raises(ValueError, match="expected"):
        run("fast", "one map", "default", arrays)


def test_torch_gradient_against_differences(monkeypatch):
    import torch

    from frameworks.torch_rtdetr import attention

    monkeypatch.setenv(kernels.VARIABLE, "fast")
    arrays = inputs("three maps", 1, 3, 5)
    arrays["locations"][:, :4] = np.random.Generator(np.random.PCG64(4)).uniform(0, 1, (1, 4, 2, 6, 2))  # no kinks
    leaves = [torch.from_numpy(arrays[name]).requires_grad_() for name in NAMES[1:]]
    shapes, points = LEVELS["three maps"]
    assert torch.autograd.gradcheck(
        lambda v, at, weight: attention.mix_levels(v, at, weight, shapes, points, "default"), leaves
    )


def test_the_number_of_threads_changes_nothing(monkeypatch):
    import torch

    arrays = {name: array.astype(np.float32) for name, array in inputs("three maps", 3, 32, 40).items()}
    before, found = torch.get_num_threads(), []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        found.append(run_torch(monkeypatch, "fast", "three maps", "default", arrays))
    torch.set_num_threads(before)
    assert all(found[0][name].tobytes() == other[name].tobytes() for other in found[1:] for name in NAMES)


def test_a_library_is_compiled_once(cache, monkeypatch):
    path = library.compiled("deformable_attention")
    assert path.parent == cache and [p.name for p in cache.glob("*.so")] == [path.name]
    made = path.stat().st_mtime_ns
    assert library.compiled("deformable_attention") == path and path.stat().st_mtime_ns == made
    monkeypatch.setattr(library, "FLAGS", (*library.FLAGS, "-DOTHER"))
    assert library.compiled("deformable_attention") != path


def test_without_a_compiler_the_formula_is_used_and_one_line_says_why(cache, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(cache))
    arrays = inputs("one map", 1, 4)
    found = [run_torch(monkeypatch, path, "one map", "default", arrays) for path in ("fast", "fast", "reference")]
    assert all(found[0][name].tobytes() == found[2][name].tobytes() for name in NAMES)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "deformable_attention" in lines[0] and "g++ is not on PATH" in lines[0]


def test_a_compilation_that_fails_is_reported_in_one_line(cache, monkeypatch, capsys):
    monkeypatch.setattr(library, "FLAGS", (*library.FLAGS, "-std=c++1"))
    assert library.load("deformable_attention") is None
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "-std=c++1" in line


def test_a_cache_folder_that_cannot_be_written_is_reported_in_one_line(cache, monkeypatch, capsys):
    cache.write_text("a file")
    assert library.load("deformable_attention") is None
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "twin-detr" in line


def test_an_unknown_path_is_refused(monkeypatch):
    monkeypatch.setenv(kernels.VARIABLE, "quick")
    with pytest.raises(UserError, match="quick"):
        kernels.fast()
