"""Where the time of an inference of Hugging Face's model goes, by canonical module. Never used in a comparison."""

from collections.abc import Callable
from typing import Any

import torch

from frameworks.config import ModelSpec
from frameworks.hf_rtdetr.model import Model
from frameworks.hf_rtdetr.tracing import module_path
from frameworks.shared.part_times import REST, PartTimes
from frameworks.state.module_paths import separate_modules


def profile_inference(model: Model, spec: ModelSpec, infer: Callable[[], object], repeats: int) -> dict[str, Any]:
    """Time the modules of ``model`` in calls of ``infer``.

    Returns:
        ``modules`` of ``frameworks.protocol.InferenceProfiler``.
    """
    times = PartTimes(torch.cuda.synchronize if model.device.type == "cuda" else lambda: None)
    with times.stack:
        for path in separate_modules(spec):
            for module in _called(model.get_submodule(module_path(spec, path))):
                times.watch(module, "forward", path)
        infer()  # allocates what later inferences reuse
        found = times.medians(infer, repeats)
    found["others"] = found.pop(REST)
    return {"modules": found}


def _called(module: torch.nn.Module) -> list[torch.nn.Module]:
    """The module itself, or the members of a list: transformers calls some of them one by one."""
    return list(module) if isinstance(module, (torch.nn.ModuleList, torch.nn.Sequential)) else [module]
