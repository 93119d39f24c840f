"""Choice between the fast operators in C++ and the readable formulas that define them.

``TWIN_DETR_KERNELS=reference`` selects the formulas in the whole process; commands set it with ``--kernels``.
"""

import os

from frameworks.errors import UserError

VARIABLE = "TWIN_DETR_KERNELS"
CHOICES = ("fast", "reference")


def fast() -> bool:
    """Whether the fast operators are to be used. Raises UserError for an unknown value of the variable."""
    choice = os.environ.get(VARIABLE, "fast")
    if choice not in CHOICES:
        raise UserError(f"{VARIABLE} is {choice!r}; expected {' or '.join(CHOICES)}")
    return choice == "fast"
