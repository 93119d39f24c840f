"""Where the time of a training step goes: by module, and by operator. For the benchmark's page, never for a run."""

import os
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec
from frameworks.shared import kernels
from frameworks.shared.part_times import REST, PartTimes, largest
from frameworks.state.module_paths import separate_modules
from frameworks.torch_rtdetr import training
from frameworks.torch_rtdetr.flops import module_flops
from frameworks.torch_rtdetr.model import RTDETR

LARGEST = 10  # operators listed by name


def profile_step(run: training.TrainingRun, batch: Arrays, repeats: int) -> dict[str, Any]:
    """Profile training steps of ``run`` on ``batch``, which is a step's as in ``Stepper``.

    The learning rates are 0, so that every step does the same work.

    Returns:
        ``parts``: seconds by part of the step of median length; ``operators``: seconds and calls by operator of one
        step; ``operations``: floating-point operations of a ``step`` and of an ``inference``.
    """

    def step() -> None:
        run.step(batch, [0.0] * len(run.spec.recipe.groups), 0.5)

    step()  # allocates what later steps reuse
    return {"parts": time_parts(run, step, repeats), "operators": time_operators(step)} | {
        "operations": {"step": _count(step), "inference": _count(lambda: _infer(run, batch))}
    }


def profile_inference(model: RTDETR, images: Arrays, spec: ExperimentSpec, repeats: int) -> dict[str, Any]:
    """Profile the inference of an ``inference_model`` on ``images``, as ``training.predict`` takes them.

    Returns:
        ``modules``: median seconds by module, ``others`` being what lies between them;
        ``operations``: floating-point operations of one image by path, "" being the whole model.
    """
    device = next(model.parameters()).device
    times, modules = PartTimes(lambda: _wait(device)), dict(model.named_modules())
    with times.stack:
        for path in separate_modules(spec.model):
            times.watch(modules[path], "forward", path)
        training.predict(model, images, spec)  # allocates what later inferences reuse
        found = times.medians(lambda: training.predict(model, images, spec), repeats)
    found["others"] = found.pop(REST)
    height, width = images["images"].shape[-2:]
    return {"modules": found, "operations": dict(module_flops(spec.model, (height, width), deployed=True))}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_parts(run: training.TrainingRun, step: Callable[[], None], repeats: int) -> dict[str, float]:
    """Seconds of each part of a step; the backward pass is what the clocks of the others leave."""
    times = PartTimes(run._synchronise)
    with times.stack:
        for name in ("backbone", "encoder", "decoder"):
            times.watch(getattr(run.model, name), "forward", name)
        times.watch(training, "criterion", "criterion and matching")
        times.watch(run.optimizer, "step", "optimizer and average")
        times.watch(run.ema, "update", "optimizer and average")
        return times.median(step, repeats)


def time_operators(step: Callable[[], None]) -> dict[str, dict[str, float]]:
    """Seconds and calls of the operators of one step on the CPU, without what they call."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
    rows = {
        event.key: {"seconds": event.self_cpu_time_total / 1e6, "calls": event.count}
        for event in profiler.key_averages()
    }
    return largest(rows, LARGEST)


def _infer(run: training.TrainingRun, batch: Arrays) -> None:
    images = batch["images"]
    sizes = images[:, 0, :2, 0] * 0 + images.shape[-1]
    run.predict({"images": images, "sizes_wh": sizes})


def _count(call: Callable[[], object]) -> int:
    """Operations of convolutions and matrix products, two for a multiply-accumulate, of the reference path."""
    with mock.patch.dict(os.environ, {kernels.VARIABLE: "reference"}), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()
