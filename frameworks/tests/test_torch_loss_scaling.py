"""Loss scaling of the PyTorch twin in float16, on a CPU: skipped updates, scales and resumption."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from frameworks.config import ParameterGroup, RecipeSpec
from frameworks.config.validation import SpecError
from frameworks.tests.test_torch_mixed_precision import SPEC, WEIGHTS, drawn_batch, in_mixed_precision
from frameworks.torch_rtdetr.optimizer import Optimizer, add_gradients, clip_gradients
from frameworks.torch_rtdetr.training import TrainingRun

SCALED = in_mixed_precision("float16")
GROUP = {"lr": 1e-2, "weight_decay": 0.1}
RATES = [1e-3] * len(SPEC.recipe.groups)
OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adamw": (torch.optim.AdamW, {}),
    "adam": (torch.optim.Adam, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
}


def scaled_run(scale: float) -> TrainingRun:
    """A run in float16 that begins with this loss scale."""
    run = TrainingRun(SCALED, WEIGHTS, "cpu")
    run.load(run.state() | {"scaler/scale": np.array(scale, np.float32)})
    return run


def test_an_update_with_an_overflow_is_skipped_and_the_scale_halved() -> None:
    run, batch = scaled_run(2.0**40), drawn_batch()
    before = run.state()
    record = run.step(batch, RATES, 0.5)
    after = run.state()
    assert record.overflow and not np.isfinite(record.gradient_norm) and np.isfinite(record.total)
    assert (before["scaler/scale"], after["scaler/scale"]) == (2.0**40, 2.0**39)
    trained = [f"parameter/{name}" for name in run.optimizer.parameters]
    assert all(np.array_equal(before[name], after[name]) for name in trained)
    assert not [name for name in after if name.startswith(("moment", "steps/", "accumulated/"))]
    run.load(after | {"scaler/scale": np.array(2.0**10, np.float32)})
    record = run.step(batch, RATES, 0.5)
    assert not record.overflow and np.isfinite(record.gradient_norm)
    end = run.state()
    assert (end["scaler/scale"], end["scaler/updates"]) == (2.0**10, 1)
    assert any(not np.array_equal(end[name], after[name]) for name in trained)


def test_gradients_that_no_scale_makes_finite_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    run = scaled_run(1.0)
    forward = run.model.encoder.forward
    monkeypatch.setattr(run.model.encoder, "forward", lambda maps: forward([m + (m * 0).sqrt() for m in maps]))
    with pytest.raises(FloatingPointError, match="not finite even without a loss scale"):
        run.step(drawn_batch(), RATES, 0.5)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("limit", [0.0, 0.05])
def test_scales_and_updates_are_those_of_a_plain_loop(name: str, limit: float) -> None:
    """The first update is skipped, and one later: infinities in one of two batches of gradients."""
    kind, settings = OPTIMIZERS[name]
    recipe = RecipeSpec((ParameterGroup("", **GROUP),), optimizer=name, amp=True, amp_dtype="float16", **settings)
    draw = torch.Generator().manual_seed(0)
    ours, plain = (nn.ParameterDict({"a": torch.ones(5), "b": torch.ones(3, 2)}) for _ in range(2))
    optimizer, library = Optimizer(dict(ours.items()), recipe), kind(plain.parameters(), **GROUP, **settings)
    scaler = torch.amp.GradScaler("cpu")
    for update in range(4):
        total: dict[str, torch.Tensor] = {}
        for half in range(2):
            parts = {n: torch.randn(p.shape, generator=draw) for n, p in plain.items()}
            if half == 0 and update in (0, 2):
                parts["b"][0] = torch.inf
            total = add_gradients(total, {n: optimizer.scaler.scale(g) for n, g in parts.items()}, 0.5)
            scaler.scale(0.5 * sum((p * parts[n]).sum() for n, p in plain.items())).backward()  # pyright: ignore
        clipped, norm = clip_gradients(total, limit, optimizer.scaler.get_scale())
        scaler.unscale_(library)
        expected = torch.nn.utils.clip_grad_norm_(plain.parameters(), limit or torch.inf)
        torch.testing.assert_close(norm, expected)
        optimizer.step(clipped, [1e-2])
        scaler.step(library)
        scaler.update()
        library.zero_grad()
        assert optimizer.scaler.state_dict() == scaler.state_dict()
        torch.testing.assert_close(dict(ours.items()), dict(plain.items()), rtol=1e-6, atol=1e-7)


def test_a_loaded_run_goes_on_the_same_in_the_middle_of_an_update() -> None:
    batch, first = drawn_batch(), scaled_run(2.0**40)
    first.step(batch, RATES, 0.5)
    first.load(first.state() | {"scaler/scale": np.array(2.0**12, np.float32)})
    first.step(batch, RATES, 0.5)
    assert first.step(batch, RATES, 0.5, update=False, share=0.5).gradient_norm < 1e4  # without the scale
    again = TrainingRun(SCALED, WEIGHTS, "cpu")
    again.load(first.state())
    for run in (first, again):
        run.step(batch, RATES, 0.5, share=0.5)
    ends = first.state(), again.state()
    assert ends[0]["scaler/updates"] == 2
    assert ends[0].keys() == ends[1].keys()
    assert all(np.array_equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_only_float16_scales_and_a_dtype_needs_mixed_precision() -> None:
    for spec in (SPEC, in_mixed_precision("bfloat16")):
        assert not [name for name in TrainingRun(spec, WEIGHTS, "cpu").state() if name.startswith("scaler/")]
    with pytest.raises(SpecError, match="bfloat16 where amp is false"):
        replace(SPEC.recipe, amp_dtype="float16")
    with pytest.raises(SpecError, match="amp_dtype"):
        replace(SPEC.recipe, amp=True, amp_dtype="float8")
