"""Mixed precision of the PyTorch twin: as far from float32 as rounding to bfloat16 takes it, and no further.

Selected queries and matched pairs hang on the smallest differences of scores and costs. Where float32 and bfloat16
are compared, both have those of float32.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from frameworks import require_precision
from frameworks.arrays import Arrays
from frameworks.config import preset
from frameworks.errors import UserError
from frameworks.judge.decisions import forced_decisions
from frameworks.native import library
from frameworks.shared import drawn_inputs, kernels, trace_names
from frameworks.shared.hungarian import Matching
from frameworks.shared.noise import draw_noise
from frameworks.state.initialisation import initial_weights
from frameworks.torch_rtdetr import deformable
from frameworks.torch_rtdetr.decoder import Outputs
from frameworks.torch_rtdetr.training import TrainingRun

SPEC = preset("tiny")
MIXED = replace(SPEC, recipe=replace(SPEC.recipe, amp=True))
WEIGHTS = initial_weights(SPEC.model, 0)
# Of the losses, and of the gradients of the parts. The losses read logits that are rounded themselves.
LIMITS = {"loss": 6, "backbone": 2, "encoder": 2, "decoder": 2}


def drawn_batch() -> Arrays:
    """A training step's inputs: two images with three and two objects."""
    targets = drawn_inputs.targets("mixed precision", (3, 2))
    noise = draw_noise(SPEC.model, targets["counts"], np.random.default_rng(0))
    return {"images": drawn_inputs.images(2, 128, 128, "mixed precision")} | targets | noise


def perturbed(arrays: Arrays, seed: int) -> Arrays:
    """Floating arrays with every number off by up to 2^-8 of itself, the distance of two bfloat16 numbers."""
    draw = np.random.default_rng(seed)
    return {
        name: (a * (1 + draw.uniform(-1, 1, a.shape) / 256)).astype(a.dtype) if a.dtype == np.float32 else a
        for name, a in arrays.items()
    }


class Measured:
    """Losses and gradients of one batch, with the selected queries and matchings of the first measurement."""

    def __init__(self) -> None:
        self.forced: Arrays = {}

    def __call__(self, run: TrainingRun, batch: Arrays) -> dict[str, Tensor]:
        terms, gradients, _ = run.loss_and_gradients(batch | self.forced, self.watch)
        found = {"loss": torch.stack([term.detach() for term in terms.values()])}
        for part in ("backbone", "encoder", "decoder"):
            found[part] = torch.cat([g.flatten() for name, g in gradients.items() if name.startswith(part)])
        return found

    def watch(self, images: Tensor, outputs: Outputs, found: list[Matching]) -> dict[str, Tensor]:
        if not self.forced:
            decisions = {"select/topk": outputs.topk_BQ.numpy()} | trace_names.matchings(found)
            self.forced = forced_decisions(decisions)
        return {}


def distances(a: dict[str, Tensor], b: dict[str, Tensor]) -> dict[str, float]:
    """Relative L2 distance of losses and of the gradients of every part."""
    return {name: float((a[name] - b[name]).norm() / b[name].norm()) for name in b}


def test_losses_and_gradients_differ_from_float32_by_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mixed precision has the noise of a model in float32 that is ``perturbed``, times at most ``LIMITS``.

    An operation in bfloat16 rounds weights, inputs and result, each by up to half of what ``perturbed`` moves a
    weight. An eighth is the least: below, nothing would be in bfloat16.
    """
    batch, measure = drawn_batch(), Measured()
    exact = measure(TrainingRun(SPEC, WEIGHTS, "cpu"), batch)
    noises = []
    for seed in range(3):
        drawn = perturbed(WEIGHTS | {"images": batch["images"]}, seed)
        weights = {name: drawn[name] for name in WEIGHTS}
        run = TrainingRun(SPEC, weights, "cpu")
        noises.append(distances(measure(run, batch | {"images": drawn["images"]}), exact))
    for form in kernels.CHOICES:
        monkeypatch.setenv(kernels.VARIABLE, form)
        found = distances(measure(TrainingRun(MIXED, WEIGHTS, "cpu"), batch), exact)
        for name, limit in LIMITS.items():
            noise = [each[name] for each in noises]
            assert min(noise) / 8 < found[name] < limit * max(noise), (form, name, found[name], noise)


def test_all_that_is_kept_is_in_float32_and_a_loaded_run_goes_on_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []
    call = deformable._call

    def watched(name: str, levels: np.ndarray, *tensors: Tensor) -> None:
        seen.extend(tensor.dtype for tensor in tensors)
        call(name, levels, *tensors)

    monkeypatch.setattr(deformable, "_call", watched)
    batch, first = drawn_batch(), TrainingRun(MIXED, WEIGHTS, "cpu")
    rates = [1e-3] * len(MIXED.recipe.groups)
    first.step(batch, rates, 0.5, update=False, share=0.5)
    state = first.state()
    assert {a.dtype for a in state.values()} == {np.dtype("float32"), np.dtype("int64")}
    again = TrainingRun(MIXED, WEIGHTS, "cpu")
    again.load(state)
    for run in (first, again):
        run.step(batch, rates, 0.5, share=0.5)
    ends = first.state(), again.state()
    assert {a.dtype for a in ends[0].values()} == {np.dtype("float32"), np.dtype("int64")}
    assert all(np.array_equal(ends[0][name], ends[1][name]) for name in ends[0])
    made = library.load("deformable_attention") is not None  # False without a compiler
    assert set(seen) == ({torch.float32} if made else set())


def test_another_framework_refuses_in_one_line() -> None:
    require_precision(SPEC.recipe, "torch", "jittor")
    require_precision(MIXED.recipe, "torch")
    with pytest.raises(UserError, match=r"--use-amp .*: jittor cannot train in mixed precision on any device"):
        require_precision(MIXED.recipe, "torch", "jittor")
