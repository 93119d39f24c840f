"""All operators of the atlas by family, and what a record says about each entry."""

import hashlib
from importlib import import_module
from pathlib import Path
from typing import Any

from parity_tests.operators import (
    arithmetic,
    autograd,
    comparing,
    convolution,
    elementwise,
    exponentials,
    indexing,
    linear_algebra,
    losses,
    normalisation,
    randomness,
    reductions,
    sampling,
    shapes,
    sorting,
    training,
)
from parity_tests.operators.operator import Operator
from parity_tests.operators.sources import Source, sources

FAMILIES: dict[str, list[Operator]] = {
    "elementwise": elementwise.OPERATORS,
    "exponentials": exponentials.OPERATORS,
    "arithmetic": arithmetic.OPERATORS,
    "comparing": comparing.OPERATORS,
    "reductions": reductions.OPERATORS,
    "shapes": shapes.OPERATORS,
    "indexing": indexing.OPERATORS,
    "sorting": sorting.OPERATORS,
    "linear_algebra": linear_algebra.OPERATORS,
    "convolution": convolution.OPERATORS,
    "normalisation": normalisation.OPERATORS,
    "sampling": sampling.OPERATORS,
    "losses": losses.OPERATORS,
    "autograd": autograd.OPERATORS,
    "training": training.OPERATORS,
    "randomness": randomness.OPERATORS,
}
OPERATORS = [operator for operators in FAMILIES.values() for operator in operators]


def entries() -> dict[str, Source]:
    """Source of every entry by name."""
    found = {}
    for family in FAMILIES:
        module = import_module(f"parity_tests.operators.{family}")
        found |= sources(Path(str(module.__file__)))
    return found


def digests() -> dict[str, str]:
    """Digest of every entry by name, inputs included."""
    known = entries()
    found = {}
    for operator in OPERATORS:
        digest = hashlib.sha256(known[operator.name].digest.encode())
        for label, arrays in operator.inputs.items():
            digest.update(label.encode() + b"".join(f"{a.dtype}{a.shape}".encode() + a.tobytes() for a in arrays))
        found[operator.name] = digest.hexdigest()[:12]
    return found


def described() -> list[dict[str, Any]]:
    """A line for the records about each operator: family, calls, links, note."""
    known = entries()
    return [
        {
            "entry": operator.name,
            "family": family,
            "calls": known[operator.name].calls,
            "twin": operator.twin,
            "note": operator.note,
            "defect": operator.defect,
        }
        for family, operators in FAMILIES.items()
        for operator in operators
    ]
