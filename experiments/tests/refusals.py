"""How files of strangers are refused."""

import tracemalloc
from pathlib import Path

import pytest

from experiments.untrusted import ALWAYS
from experiments.weight_files.readers import read_weights
from frameworks.errors import UserError


def refused(path: Path, fragment: str = ".") -> str:
    """The one line with which a file is refused, for less memory than small files may take."""
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=fragment) as error:
            read_weights(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    line = str(error.value)
    assert str(path) in line and line.isprintable() and len(line) < 700
    assert peak < 1.5 * ALWAYS
    return line
