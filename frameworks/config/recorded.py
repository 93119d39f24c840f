"""The spec that a checkpoint carries, so that the file alone can be used."""

import contextlib
import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from frameworks.config.experiment import ExperimentSpec
from frameworks.config.serialization import from_dict
from frameworks.errors import UserError, said
from frameworks.files import require_file


def read_spec(path: Path) -> ExperimentSpec | None:
    """The spec that a checkpoint was trained with; None where a safetensors file does not say.

    Raises:
        UserError: the spec is not one of this version.
    """
    require_file(path)
    with contextlib.suppress(OSError, SafetensorError), safe_open(path, framework="numpy") as opened:
        if text := (opened.metadata() or {}).get("spec"):
            try:
                return from_dict(ExperimentSpec, json.loads(text))
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}: its spec is not JSON: {said(error)}") from None
    return None
