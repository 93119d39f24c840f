"""The C++ form of multi-scale deformable attention's sampling, on CPU; attention.py has the formula.

Shape suffixes as there: B batch, Q queries, H heads, d channels of a head, K points and N pixels of all levels.
"""

import jittor as jt
from jittor import Var

from frameworks.native import FOLDER, level_table
from frameworks.shared import kernels

# The text itself, since a path in it would make the kernels of another checkout different ones.
HEADER = (FOLDER / "deformable_attention.h").read_text("utf-8").replace("#pragma once\n", "")
# Sizes are read from the inputs, so that one kernel serves all of them.
SIZES = """
    const twin_detr::Sizes sizes{in0_shape0, in0_shape1, in0_shape2, in0_shape3, in2_shape1, in2_shape3, in3_shape0,
                                 omp_get_max_threads()};
"""


class _Mix(jt.Function):
    """The pair of C++ functions."""

    def execute(self, value_BNHd: Var, locations_BQHK2: Var, weights_BQHK: Var, levels_L4: Var) -> Var:
        self.inputs = [value_BNHd, locations_BQHK2, weights_BQHK, levels_L4]
        source = f"{SIZES} twin_detr::mix(sizes, in3_p, in0_p, in1_p, in2_p, out0_p);"
        shape = (*weights_BQHK.shape[:3], value_BNHd.shape[-1])
        return jt.code(shape, value_BNHd.dtype, self.inputs, cpu_header=HEADER, cpu_src=source)

    def grad(self, grad_BQHd: Var) -> tuple[Var | None, ...]:
        results = "out0_p, out1_p, out2_p"
        source = f"{SIZES} twin_detr::mix_gradient(sizes, in3_p, in0_p, in1_p, in2_p, in4_p, {results});"
        shapes, dtypes = zip(*((x.shape, x.dtype) for x in self.inputs[:3]), strict=True)
        inputs, self.inputs = [*self.inputs, grad_BQHd], []  # free them as soon as the gradient is computed
        return *jt.code(shapes, dtypes, inputs, cpu_header=HEADER, cpu_src=source), None


def available(value_BNHd: Var) -> bool:
    """Whether the C++ form is wanted and can take this value."""
    return kernels.fast() and not jt.flags.use_cuda and value_BNHd.dtype in ("float32", "float64")


def mix_levels(
    value_BNHd: Var,
    locations_BQHK2: Var,
    weights_BQHK: Var,
    spatial_shapes: list[tuple[int, int]],
    points: tuple[int, ...],
    method: str,
) -> Var:
    """Samples of every level at its own locations, weighted and summed over all points. Returns [B, Q, H, d].

    Raises:
        ValueError: shapes or dtypes do not fit.
    """
    table = level_table(spatial_shapes, points, method, value_BNHd, locations_BQHK2, weights_BQHK)
    levels_L4 = jt.array(table).stop_grad()
    if method == "discrete":  # a nearest pixel has no gradient towards its location
        locations_BQHK2 = locations_BQHK2.detach()
    return _Mix.apply(value_BNHd, locations_BQHK2, weights_BQHK, levels_L4)
