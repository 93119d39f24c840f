"""Profiles of a training step: the parts add up, the clocks are taken off again, and kernels get the right kind."""

import dataclasses
import time
from types import SimpleNamespace

import pytest

import frameworks
from experiments.benchmarks.session import drawn_weights, make_inputs
from frameworks.config import preset
from frameworks.protocol import InferenceProfiler, Profiler
from frameworks.shared.part_times import REST, PartTimes, largest
from frameworks.state.module_paths import separate_modules
from frameworks.workers.client import open_framework

PARTS = ["backbone", "encoder", "decoder", "criterion and matching", "optimizer and average", REST]


def test_parts_of_the_median_step_add_up_and_clocks_are_taken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)

    def work(seconds: float) -> None:
        clock.now += seconds

    owner, durations = SimpleNamespace(update=work), iter([9.0, 1.0, 2.0])
    times = PartTimes(lambda: None)

    def step() -> None:
        owner.update(next(durations))
        owner.update(0.5)
        work(4.0)

    with times.stack:
        times.watch(owner, "update", "average")
        assert owner.update is not work
        assert times.median(step, 3) == {"average": 2.5, REST: 4.0}
    assert owner.update is work


def test_an_interruption_of_one_round_falls_on_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)

    def work(seconds: float) -> None:
        clock.now += seconds

    owner, first, rest = SimpleNamespace(update=work), iter([9.0, 1.0, 1.0]), iter([2.0, 2.0, 50.0])
    times = PartTimes(lambda: None)
    with times.stack:
        times.watch(owner, "update", "average")
        assert times.medians(lambda: (owner.update(next(first)), work(next(rest))), 3) == {
            "average": 1.0,
            REST: 2.0,
        }


def test_what_is_waited_for_before_a_part_is_not_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lazy framework computes at the first synchronisation whatever was asked for before."""
    clock = SimpleNamespace(now=0.0, asked=0.0)
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)

    def synchronise() -> None:
        clock.now, clock.asked = clock.now + clock.asked, 0.0

    def ask(seconds: float) -> None:
        clock.asked += seconds

    owner, times = SimpleNamespace(update=ask), PartTimes(synchronise)

    def step() -> None:
        ask(5.0)
        owner.update(1.0)
        ask(2.0)

    with times.stack:
        times.watch(owner, "update", "average")
        assert times.median(step, 1) == {"average": 1.0, REST: 7.0}


def test_the_largest_rows_are_kept_and_the_others_added_up() -> None:
    rows = {name: {"seconds": seconds, "calls": 1} for name, seconds in (("a", 1.0), ("b", 4.0), ("c", 2.0))}
    found = largest(rows, 1)
    assert list(found) == ["b", "others"] and found["others"] == {"seconds": 3.0, "calls": 2}
    assert list(largest(rows, 3)) == ["b", "c", "a"]


@pytest.mark.parametrize("name", frameworks.ADAPTERS)
def test_a_twin_says_where_the_time_of_its_step_goes(name: str) -> None:
    spec = preset("tiny")
    spec = dataclasses.replace(spec, data=dataclasses.replace(spec.data, image_size=(64, 64), batch_size=1))
    with open_framework(name) as framework:
        assert isinstance(framework, Profiler)
        profile = framework.profile(spec, drawn_weights(spec.model), make_inputs(spec).batch, device="cpu")
        assert isinstance(framework, InferenceProfiler)
        images = make_inputs(spec).images
        inference = framework.profile_inference(spec, drawn_weights(spec.model), images, device="cpu", repeats=1)
    assert sorted(profile["parts"]) == sorted(PARTS)
    assert all(seconds > 0 for seconds in profile["parts"].values())
    assert sum(row["seconds"] for row in profile["operators"].values()) > 0
    unused = {f"decoder.dec_score_head.{layer}" for layer in range(spec.model.decoder.num_layers - 1)}
    assert inference["modules"].keys() == {*separate_modules(spec.model), "others"} - unused
    assert all(seconds > 0 for seconds in inference["modules"].values())
    if name == frameworks.REFERENCE:
        assert inference["operations"][""] >= sum(
            inference["operations"].get(path, 0) for path in separate_modules(spec.model)
        )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mkl_matmul«T:float32«JIT:1", "mkl_matmul"),
        ("«opkey0:broadcast_to«Tx:float32«opkey1:binary«OP:multiply«opkey2:reduce«OP:add", "fused: reduction"),
        ("«opkey0:binary«Tx:float32«opkey1:reindex«XDIM=4", "fused: indexing"),
        ("«opkey0:unary«OP:exp«opkey1:binary«OP:add", "fused: element-wise"),
    ],
)
def test_kernels_of_jittor_have_a_kind(name: str, kind: str) -> None:
    frameworks.load("jittor")
    from frameworks.jittor_rtdetr.profiling import kernel_kind

    assert kernel_kind(name) == kind
