"""Choice between the fast operators in C++ and the readable formulas that define them.

``TWIN_DETR_KERNELS=reference`` selects the formulas in the whole process; commands set it with ``--kernels``.
"""

import contextlib
import os
from collections.abc import Iterator

from frameworks.errors import UserError

VARIABLE = "TWIN_DETR_KERNELS"
CHOICES = ("fast", "reference")


def choice() -> str:
    """The present choice, by default "fast". Raises UserError for an unknown value of the variable."""
    found = os.environ.get(VARIABLE, "fast")
    if found not in CHOICES:
        raise UserError(f"{VARIABLE} is {found!r}; expected {' or '.join(CHOICES)}")
    return found


def fast() -> bool:
    """Whether the fast operators are to be used. Raises UserError for an unknown value of the variable."""
    return choice() == "fast"


@contextlib.contextmanager
def chosen(kernels: str | None) -> Iterator[None]:
    """Set the choice for this process and the workers that it starts meanwhile; None leaves it as it is."""
    before = os.environ.get(VARIABLE)
    if kernels is not None:
        os.environ[VARIABLE] = kernels
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before
