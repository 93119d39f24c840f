"""The table of a diagnosis: errors of each module in a whole pass and alone, and parameters without a gradient."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frameworks.arrays import Arrays
from frameworks.judge.blame import Replay
from frameworks.judge.compare import compare

# A gradient below this share of the largest one of its trace is what rounding leaves of zero.
ROUNDING = {"float64": 1e-12, "float32": 1e-6}
GRADIENTS = ("gradient/", "gradient_input/")


@dataclass(frozen=True)
class ModuleErrors:
    """Worst relative errors of a module's tensors; None where neither side has one, infinity where one lacks it."""

    module: str
    forward: float | None  # of its outputs in the whole pass: what it inherited included
    forward_alone: float | None  # of its outputs on the left's inputs
    backward: float | None  # of the gradients that its outputs receive in the whole pass
    backward_alone: float | None  # of its gradients on the left's inputs and output gradients
    note: str = ""  # why it could not be run alone


@dataclass(frozen=True)
class LostGradient:
    """A parameter that one side trains and the other does not: its gradient there is "zero", "missing", ..."""

    parameter: str
    left: str
    right: str


class Replays:
    """Both sides' runs of single modules on the left's inputs, each made once; the reason where one fails."""

    def __init__(self, left: Replay, right: Replay, dtype: str) -> None:
        self.sides, self.dtype = (left, right), dtype
        self.notes: dict[str, str] = {}
        self.pair = functools.cache(self._pair)

    def left(self, module: str) -> Arrays:
        """The left's trace of a module alone."""
        return self.pair(module)[0]

    def right(self, module: str) -> Arrays:
        """The right's trace of a module alone."""
        return self.pair(module)[1]

    def _pair(self, module: str) -> tuple[Arrays, Arrays]:
        try:
            left, right = (side(module) for side in self.sides)
        except Exception as error:  # a module that cannot run alone must not hide the errors of the others
            self.notes[module] = f"not run alone: {' '.join(str(error).split())}"
            return {}, {}
        return without_lost(left, right, self.dtype)


def module_errors(modules: Sequence[str], left: Arrays, right: Arrays, replays: Replays) -> list[ModuleErrors]:
    """The errors of every module in data-flow order, in the whole passes ``left`` and ``right`` and alone."""
    rows = []
    for module in modules:
        alone = replays.pair(module)
        rows.append(
            ModuleErrors(
                module,
                worst_error(left, right, f"capture/{module}/output/"),
                worst_error(*alone, "output/"),
                worst_error(left, right, f"capture/{module}/cotangent/"),
                worst_error(*alone, GRADIENTS),
                replays.notes.get(module, ""),
            )
        )
    return rows


def worst_error(left: Arrays, right: Arrays, prefix: str | tuple[str, ...]) -> float | None:
    """The largest error among the tensors whose names start with ``prefix``; None where there is none."""
    ours, theirs = ({n: array for n, array in side.items() if n.startswith(prefix)} for side in (left, right))
    if not ours and not theirs:
        return None
    errors = [c.error for c in compare(theirs, ours, _no_limit)]
    return max(math.inf if math.isnan(error) else error for error in errors)


def without_lost(left: Arrays, right: Arrays, dtype: str) -> tuple[Arrays, Arrays]:
    """Both traces without the gradients that are zero, missing or mere rounding on both sides.

    PyTorch has no gradient where Jittor has zeros, and a bias in front of a norm has what rounding leaves.
    """
    names = {name for side in (left, right) for name in side if _is_gradient(name)}
    kinds = [{name: kind_of(side, name, dtype) for name in names} for side in (left, right)]
    lost = {name for name in names if "gradient" not in (kinds[0][name], kinds[1][name])}
    one, other = ({name: array for name, array in side.items() if name not in lost} for side in (left, right))
    return one, other


def lost_gradients(left: Arrays, right: Arrays, dtype: str) -> list[LostGradient]:
    """The parameters that have a gradient on one side alone, in the order of the left."""
    names = dict.fromkeys(name for side in (left, right) for name in side if name.startswith("gradient/"))
    found = [
        LostGradient(n.removeprefix("gradient/"), kind_of(left, n, dtype), kind_of(right, n, dtype)) for n in names
    ]
    return [lost for lost in found if (lost.left == "gradient") != (lost.right == "gradient")]


def kind_of(trace: Arrays, name: str, dtype: str) -> str:
    """What a gradient is: "gradient", "missing", "exactly zero" or "rounding only"."""
    if name not in trace:
        return "missing"
    if not trace[name].any():
        return "exactly zero"
    largest = _largest_gradient(trace)
    return "rounding only" if _norm(trace[name]) <= ROUNDING[dtype] * largest else "gradient"


def _largest_gradient(trace: Arrays) -> float:
    return max(_norm(array) for name, array in trace.items() if _is_gradient(name))


def _is_gradient(name: str) -> bool:
    return name.startswith(GRADIENTS) or (name.startswith("capture/") and "/cotangent/" in name)


def _norm(array: np.ndarray) -> float:
    return float(np.linalg.norm(array.astype(np.float64).ravel()))


def _no_limit(stage: str, tensor: str) -> float:
    return math.inf
