"""How a C++ function of the headers in this folder becomes an operation of Jittor's graph."""

from functools import cache
from pathlib import Path

import jittor as jt
from jittor import Var

from frameworks.shared.kernels import fast

Output = tuple[tuple[int, ...], str]  # shape and dtype


def in_use() -> bool:
    """Whether this process computes with the kernels: on a CPU, unless the formulas were asked for."""
    return not jt.flags.use_cuda and fast()


def run(header: str, call: str, inputs: list[Var], outputs: list[Output], **numbers: float) -> list[Var]:
    """Call C++ code once, when the graph is executed.

    Args:
        header: name of a header in this folder, without ".h".
        call: C++ statement; ``in0_p``, ``out0_p``, ... point to the numbers, ``in0_shape0``, ... are sizes,
            ``in0_type`` is the type, ``data["NAME"]`` a number.
        inputs: contiguous arrays, read only.
        outputs: shape and dtype of each result; every element must be written.
        numbers: doubles for ``data``; they are no part of the code, so another value compiles nothing.

    Returns:
        one variable for each output.
    """
    shapes, dtypes = [list(shape) for shape, _ in outputs], [dtype for _, dtype in outputs]
    doubles = {name: float(value) for name, value in numbers.items()}
    return jt.code(shapes, dtypes, inputs, cpu_header=_source(header), cpu_src=call, data=doubles)


@cache
def _source(header: str) -> str:
    """Text of the common header and of one more; Jittor compiles again where it changes."""
    folder = Path(__file__).parent
    return "\n".join((folder / f"{name}.h").read_text(encoding="utf-8") for name in ("common", header))
