"""Facts of the official configs: see ``about`` in the files of ``reference/``."""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

from frameworks.state.named_shapes import Shape

REFERENCE = Path(__file__).parent / "reference"
_FACTS = json.loads((REFERENCE / "official_configs.json").read_text(encoding="utf-8"))
PRESETS: dict[str, dict[str, Any]] = _FACTS["configs"]
ALIASES: dict[str, dict[str, Any]] = _FACTS["aliases"]
CONFIGS = PRESETS | ALIASES


@cache
def _compressed(name: str) -> dict[str, Any]:
    with gzip.open(REFERENCE / f"official_{name}.json.gz", "rt", encoding="utf-8") as file:
        return json.load(file)[name]


def state(name: str) -> dict[str, Shape]:
    """Entries of the official ``state_dict`` of a preset and their shapes."""
    return {entry: tuple(shape) for entry, shape in _compressed("states")[name].items()}


def flops(name: str) -> dict[str, dict[str, int]]:
    """``train_form`` and ``deploy_form``: module path -> floating-point operations at 640x640."""
    return _compressed("flops")[name]
