"""An operator of the atlas: one formula in NumPy, PyTorch and Jittor, and the inputs on which they are compared."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

DTYPES = ("float32", "float64")
Inputs = Mapping[str, tuple[np.ndarray, ...]]  # label -> the arguments
Call = Callable[..., Any]


@dataclass(frozen=True)
class Operator:
    """A formula in each framework. A call returns one array or a tuple of them.

    Args:
        name: unique, as a reader would look for it.
        truth: NumPy; arrays of floats come as long doubles.
        torch: PyTorch; tensors in, tensors out.
        jittor: the module ``jt`` and its variables in, variables (or NumPy arrays) out. The nearest call, keywords
            included: what is compared is what a porter would write.
        inputs: label -> arguments; floats are rounded to the dtype that is asked, integers stay.
        instead: Jittor code with PyTorch's behaviour, where ``jittor`` has another; compared like it.
        gradient: whether derivatives of the floats are compared; a function: the closed form (inputs and one
            cotangent -> one gradient for each array of floats) of what isn't the derivative of ``truth``.
        twin: the twin's file that uses the operator, or ``instead``; empty: only a neighbour of such an operator.
        untold: labels for which no specification fixes integer results, such as the order of equal numbers.
        note: how Jittor differs, and why, in a sentence.
        defect: name of the reproduction in docs/jittor_defects, without ``.py``.
    """

    name: str
    truth: Call
    torch: Call
    jittor: Call
    inputs: Inputs
    instead: Call | None = None
    gradient: bool | Call = True
    twin: str = ""
    untold: tuple[str, ...] = ()
    note: str = ""
    defect: str = ""

    def arguments(self, label: str, dtype: str) -> list[np.ndarray]:
        """The inputs of a label, floats in ``dtype``."""
        with np.errstate(over="ignore"):
            return [np.array(a, dtype) if a.dtype.kind == "f" else a.copy() for a in self.inputs[label]]

    def differentiated(self, label: str) -> bool:
        """Whether gradients are compared: there are floats, and no NaN, where nothing says what they should be."""
        floats = [a for a in self.inputs[label] if a.dtype.kind == "f"]
        return bool(self.gradient) and bool(floats) and not any(np.isnan(a).any() for a in floats)


def cotangent(shape: tuple[int, ...], number: int) -> np.ndarray:
    """Weights of output ``number`` in the sum whose gradient is taken: multiples of 1/64, exact in every dtype."""
    drawn = np.random.Generator(np.random.PCG64(number)).integers(16, 129, shape)
    signs = np.random.Generator(np.random.PCG64(number + 1000)).choice([-1, 1], shape)
    return np.asarray(drawn * signs / 64)


def as_list(outputs: Any) -> list[Any]:
    """Outputs of a call: a tuple or list as it is, anything else alone."""
    return list(outputs) if isinstance(outputs, tuple | list) else [outputs]
