"""What a run starts from: weights from a file instead of drawn ones, and the record of where they came from."""

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
    """float32 weights (counters int64) for the model of ``spec``, and what run.json says about them.

    Args:
        source: a file, or ``official``: what is published for the preset ``spec.name``.
        partial: draw what the file does not have, or has in another shape, from ``seed``.

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
