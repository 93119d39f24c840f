"""What a user's own model must offer to be diagnosed; ``TorchModel`` and ``JittorModel`` offer it.

All arrays are NumPy's. A model of a third library implements these four methods itself. Names of a trace are those
of ``frameworks.protocol``: ``forward/NAME``, ``loss/NAME``, ``gradient/PARAMETER``, ``statistic/NAME``,
``capture/MODULE/{input,output,cotangent}/K``, and of a module alone ``output/K`` and ``gradient_input/K``.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

import numpy as np

from frameworks.arrays import Arrays
from frameworks.config.validation import nearest
from frameworks.errors import UserError

LOSS = "loss"  # the entry of a step's results that is differentiated


class OwnModel(Protocol):
    """One side of a diagnosis of two models that are not this project's."""

    def inputs(self) -> Arrays:
        """The inputs on which both sides are run; empty where the other side or a file gives them."""
        ...

    def weights(self) -> Arrays:
        """The state of a new model, by its own names."""
        ...

    def run(self, weights: Arrays, inputs: Arrays, dtype: str, training: bool, modules: list[str] | None) -> Arrays:
        """Run the whole model forward and backward, and remember each module's call for ``alone``.

        Args:
            weights: at least the whole state of the model, by its own names.
            modules: which modules to record; unknown ones are passed over. None: all, in the order in which they
                return.

        Returns:
            the trace; the order of its ``capture/MODULE/output`` is the order of the data flow.
        """
        ...

    def alone(self, module: str, given: Arrays) -> Arrays:
        """Run one module as in the last ``run``, from the same weights, on given tensors.

        Args:
            given: ``input/K`` in the place of the K-th tensor among the arguments, and ``cotangent/K``.
        """
        ...


def require_state(given: Mapping[str, np.ndarray], needed: Mapping[str, tuple[int, ...]]) -> None:
    """Raise UserError unless every entry of a state has given weights of its shape."""
    if missing := [name for name in needed if name not in given]:
        raise UserError(
            f"no weights for {', '.join(missing[:4])} ({len(missing)} in all): does the left's name of it need a "
            "line in the file of --rename?"
        )
    for name, shape in needed.items():
        if given[name].shape != shape:
            raise UserError(f"weights of {name} have the shape {given[name].shape}; the model's is {shape}")


def require_modules(listed: Iterable[str], known: Collection[str]) -> None:
    """Raise UserError for a module that an adapter lists and its model lacks."""
    if unknown := [name for name in listed if name not in known]:
        raise UserError(
            f"the adapter lists {unknown[0]!r}, which is no module of its model.{nearest(unknown[0], known)}"
        )


def require_input_count(module: str, given: Arrays, count: int) -> None:
    """Raise UserError unless ``given`` has one ``input/K`` for each of the tensors that a module takes."""
    found = sum(name.startswith("input/") for name in given)
    if found != count:
        raise UserError(f"{module} takes {count} tensors here and {found} on the other side")
