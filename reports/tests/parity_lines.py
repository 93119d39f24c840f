"""Synthetic records of the judge."""

import json
from pathlib import Path
from typing import Any

MODULES = (
    "criterion",
    "decoder.input_proj",
    "decoder.decoder.layers.0",
    "decoder.decoder.layers.1",
    "encoder.fpn_blocks.0",
    "encoder.input_proj",
    "backbone.conv1",
    "backbone.res_layers.0",
    "backbone.res_layers.1",
)
LIMITS = {"float64": 1e-10, "float32": 2e-6}


def record(**changes: Any) -> dict[str, Any]:
    """A passing comparison, with `changes`."""
    base = {
        "stage": "forward",
        "module": "backbone.conv1",
        "tensor": "out",
        "preset": "rtdetr_r18vd",
        "case": "train",
        "dtype": "float64",
        "device": "cpu",
        "framework": "jittor",
        "judge": "twin",
        "error": 1e-13,
        "limit": 1e-10,
        "reference_error": 2e-16,
        "cosine": 1.0,
        "max_abs": 3e-13,
        "published_bound": 1e-5,
        "passed": True,
    }
    return base | changes


def session() -> list[dict[str, Any]]:
    """Comparisons of every module by two judges in two dtypes, all passing, a skip and an environment."""
    lines: list[dict[str, Any]] = [{"environment": {"python": "3.11.9", "torch": {"version": "2.13.0"}}}]
    for number, module in enumerate(MODULES):
        for dtype, limit in LIMITS.items():
            for judge, framework in (("twin", "jittor"), ("oracle", "torch"), ("oracle", "jittor")):
                for tensor in ("out", "hidden"):
                    part = 3.0 ** -(number + (framework == "torch") + 2 * (dtype == "float64") + len(tensor) / 3)
                    part = 0.0 if (number, framework) == (3, "torch") else part
                    lines.append(
                        record(
                            module=module,
                            dtype=dtype,
                            judge=judge,
                            framework=framework,
                            tensor=tensor,
                            error=limit * part,
                            limit=limit,
                            stage="loss" if number == 0 else "forward",
                        )
                    )
    return [*lines, {"skipped": "no GPU here", "test": "test_forward[cuda]"}]


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
