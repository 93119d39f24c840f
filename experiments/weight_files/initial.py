"""Initial weights of a run from a file, and their record in run.json."""

from typing import Any

import numpy as np

from experiments.data.files import file_hash
from experiments.weight_files.sources import load_weights, open_source
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec
from frameworks.state.initialisation import initial_weights


def starting_weights(
    source: str, spec: ExperimentSpec, *, seed: int, partial: bool
) -> tuple[Arrays, dict[str, Any]]:
    """float32 weights (counters int64) for the model of ``spec``, and their entry in run.json.

    Args:
        source: a file, or ``official`` or ``official-objects365``: the file published for the preset ``spec.name``.
        partial: draw from ``seed`` what the file lacks or has in another shape.

    Raises:
        UserError: as ``open_source`` and ``load_weights``.
    """
    file = open_source(source, spec.name)
    loaded = load_weights(file, spec, partial=partial, advice="; --partial-weights takes what fits")
    read = {
        name: array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array
        for name, array in loaded.weights.items()
    }
    weights = initial_weights(spec.model, seed) | read
    record = {
        "source": source,
        "path": str(file.path.absolute()),
        "sha256": file_hash(file.path),
        "form": f"{file.format}, {file.form}",
        "matched": len(loaded.account.matched),
        "drawn_from_seed": len(loaded.account.missing) + len(loaded.account.mismatched),
        "unused": len(loaded.account.unused),
    }
    return weights, record
