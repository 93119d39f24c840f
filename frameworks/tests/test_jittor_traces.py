"""The Jittor twin's gradients that an in-place ``stop_grad`` would zero, and batches without targets."""

import os
from importlib.machinery import PathFinder
from typing import Any

import numpy as np
import pytest

import frameworks
from frameworks.config import preset
from frameworks.protocol import DEVICE_VARIABLE, Case
from frameworks.shared import drawn_inputs
from frameworks.shared.noise import denoising_count, draw_noise
from frameworks.state.parameters import state_shapes

pytestmark = [
    pytest.mark.skipif(PathFinder.find_spec("jittor") is None, reason="Jittor is not installed here"),
    pytest.mark.skipif(os.environ.get(DEVICE_VARIABLE, "cpu") != "cpu", reason="Jittor is not on CPU here"),
]


def loss_trace(counts: tuple[int, ...]):
    """One loss with the batch and shapes of parity_tests/test_contract.py, to use the same compiled kernels."""
    spec = preset("tiny")
    inputs = {"images": drawn_inputs.images(2, 64, 64, "jt")} | drawn_inputs.targets("jt", counts)
    inputs |= draw_noise(spec.model, np.asarray(counts), np.random.Generator(np.random.PCG64(12)))
    assert denoising_count(spec.model, np.asarray(counts)) == 0 or "noise/part" in inputs
    weights = drawn_inputs.weights(state_shapes(spec.model), "jt")
    case = Case("loss", spec, training=True)
    return frameworks.load("jittor").trace(case, weights, inputs, device="cpu", dtype="float64")


def test_padding_row_gets_no_gradient_and_detached_heads_get_one():
    trace = loss_trace((3, 2))  # the second image is padded
    table = trace["gradient/decoder.denoising_class_embed.weight"]
    assert not table[-1].any() and table[:-1].any()
    for name in ("enc_bbox_head", "enc_score_head", "dec_bbox_head.0"):  # zero if detach were stop_grad
        names = [n for n in trace if n.startswith(f"gradient/decoder.{name}.")]
        assert names and all(trace[n].any() for n in names)


def test_no_targets_in_any_image():
    trace = loss_trace((0, 0))
    losses = {n.removeprefix("loss/"): float(a) for n, a in trace.items() if n.startswith("loss/")}
    assert len(losses) == 10 and np.isfinite(list(losses.values())).all()
    assert all(losses[n] == 0 for n in losses if n.startswith(("bbox", "giou")))
    assert "gradient/decoder.denoising_class_embed.weight" not in trace
    assert all(np.isfinite(a).all() for n, a in trace.items() if n.startswith("gradient/"))


@pytest.fixture(scope="module")
def step():
    """One training step in float32 on drawn targets; returns the kernels that it ran."""
    framework = frameworks.load("jittor")
    assert framework.supports("cpu", "float32") is None
    import jittor

    from frameworks.jittor_rtdetr.training import TrainingRun

    spec = preset("tiny")
    profiler: Any = vars(jittor)["profiler"]  # its type stub lacks it
    run = TrainingRun(spec, drawn_inputs.weights(state_shapes(spec.model), "jt"), "cpu")

    def kernels(counts: tuple[int, ...], lr: float, decay: float) -> set[str]:
        batch = {"images": drawn_inputs.images(2, 64, 64, "jt")} | drawn_inputs.targets(f"jt{lr}", counts)
        batch |= draw_noise(spec.model, np.asarray(counts), np.random.Generator(np.random.PCG64(12)))
        profiler.start(0, 0)
        try:
            run.step(batch, [lr] * len(spec.recipe.groups), decay)
        finally:
            profiler.stop()
        return {row[1] for row in profiler.report()[1:]}  # file names

    return kernels


def test_later_steps_compile_nothing(step):
    """Kernels differ by code, never by learning rates, decays or the number of targets."""
    known = step((3, 2), 0.0, 0.0) | step((3, 2), 1e-7, 0.1)
    for counts, lr, decay in [
        ((3, 2), 1e-4, 0.5),
        ((5, 2), 1e-2, 0.9),
        ((2, 7), 1.0, 0.9999),
        ((4, 9), 5e-8, 0.99),
    ]:
        new = step(counts, lr, decay) - known
        assert not new, f"{len(new)} new kernels with {counts} targets, learning rate {lr}, decay {decay}"
