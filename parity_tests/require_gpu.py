"""Say in one line why parity cannot be tested on a GPU here: python -m parity_tests.require_gpu."""

import sys

import frameworks
from frameworks.errors import UserError, exit_status
from frameworks.workers.client import WorkerFailure, open_framework


def require_gpu() -> int:
    """Start every framework on the GPU, the reference first. Raises UserError for the first that cannot use it."""
    for name in frameworks.ADAPTERS:
        try:
            with open_framework(name, device="cuda") as framework:
                reason = framework.supports("cuda", "float32")
        except WorkerFailure as error:
            reason = error.message
        if reason:
            raise UserError(f"nox -s parity_gpu needs a GPU that every framework can use; {name} cannot: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(require_gpu))
