"""What each part of a model costs: parameters, operations, and seconds of an inference in every framework."""

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.benchmarks.environment import thread_variables
from experiments.benchmarks.session import Say, drawn_weights, make_inputs
from frameworks.config import ExperimentSpec
from frameworks.protocol import InferenceProfiler
from frameworks.state.module_paths import separate_modules
from frameworks.state.parameters import model_facts, state_shapes
from frameworks.workers.client import open_framework

OTHERS, HEADS = "others", "decoder: heads"
# Modules that are one part of the table: a pattern for their paths, and the part's name.
PARTS = (
    (r"encoder\.(lateral_convs|fpn_blocks|downsample_convs|pan_blocks)\..*", "encoder: fusion of levels"),
    (r"encoder\.encoder\..*", "encoder: attention"),
    (r"(encoder|decoder)\.input_proj\..*", r"\1: input projections"),
    (r"decoder\.(enc_\w+|query_pos_head).*", "decoder: query selection"),
    (r"decoder\.decoder\.layers\.(\d+)", r"decoder: layer \1"),
    (r"decoder\.dec_\w+_head\..*", HEADS),
    (r"backbone\.(.*)", r"backbone: \1"),
)


@dataclass
class Part:
    """One row: parameters, operations of one image in deploy form, seconds of an inference by framework."""

    name: str
    parameters: int = 0
    operations: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


def part_of(path: str) -> str:
    """The part that a module belongs to."""
    for pattern, name in PARTS:
        if found := re.fullmatch(pattern, path):
            return found.expand(name)
    return OTHERS


def measure(
    spec: ExperimentSpec, frameworks: tuple[str, ...], *, device: str, repeats: int, say: Say
) -> dict[str, Any]:
    """Profile an inference in each framework; returns their profiles by name."""
    images, profiles = make_inputs(spec).images, {}
    for name in frameworks:
        say(f"{name}: timing the modules of {spec.name} at {spec.data.image_size[0]} px")
        with open_framework(name, device=device, variables=thread_variables()) as framework:
            weights = drawn_weights(spec.model)
            if isinstance(framework, InferenceProfiler):
                profile = framework.profile_inference(spec, weights, images, device=device, repeats=repeats)
                profiles[name] = profile
    return {name: profile for name, profile in profiles.items() if profile}


def parts_of(spec: ExperimentSpec, profiles: dict[str, Any]) -> list[Part]:
    """The rows in data-flow order; ``others`` is what belongs to none, so that columns add up to the model."""
    paths = separate_modules(spec.model)
    last = (HEADS, OTHERS)  # a head stands behind every layer, and all are one part
    names = [name for name in dict.fromkeys(map(part_of, paths)) if name not in last]
    parts = {name: Part(name) for name in (*names, *last)}
    facts, longest_first = model_facts(spec.model), sorted(paths, key=len, reverse=True)
    for name, shape in state_shapes(spec.model).items():
        if not facts.is_buffer(name):
            owner = next((path for path in longest_first if name.startswith(f"{path}.")), "")
            parts[part_of(owner)].parameters += int(np.prod(shape))
    operations = next((profile["operations"] for profile in profiles.values() if "operations" in profile), {})
    for path in paths:
        parts[part_of(path)].operations += operations.get(path, 0)
    parts[OTHERS].operations = operations.get("", 0) - sum(part.operations for part in parts.values())
    for framework, profile in profiles.items():
        for path, seconds in profile["modules"].items():
            row = parts[part_of(path)]
            row.seconds[framework] = row.seconds.get(framework, 0.0) + seconds
    return list(parts.values())
