"""Two sets of weights bit by bit, and two twins on one image."""

from dataclasses import dataclass

import numpy as np

from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec
from frameworks.errors import UserError
from frameworks.protocol import Case
from frameworks.workers.client import WorkerFailure, open_framework


@dataclass(frozen=True)
class Difference:
    """A group of tensors: how many, how many bit-identical, and the worst |a - b| with its name."""

    group: str
    tensors: int
    identical: int
    worst: float
    name: str


def group_of(name: str) -> str:
    """The first two names, with the number after them: ``backbone.res_layers.0``, ``decoder.enc_output``."""
    parts = name.split(".")
    return ".".join(parts[: 3 if len(parts) > 3 and parts[2].isdigit() else 2])


def differences(a: Arrays, b: Arrays) -> list[Difference]:
    """One line for each group, in canonical order. NaN counts as different from everything but the same bits."""
    groups: dict[str, list[tuple[float, str]]] = {}
    for name in a:
        groups.setdefault(group_of(name), []).append((_worst(a[name], b.get(name)), name))
    return [_summarised(group, found) for group, found in groups.items()]


def _summarised(group: str, found: list[tuple[float, str]]) -> Difference:
    worst, name = max(found, key=lambda pair: np.inf if np.isnan(pair[0]) else pair[0])
    identical = sum(value == -1 for value, _ in found)
    return Difference(group, len(found), identical, max(worst, 0.0), name)


def _worst(a: np.ndarray, b: np.ndarray | None) -> float:
    """-1 for the same bits, else the largest difference; NaN where there is nothing to subtract."""
    if b is None or a.shape != b.shape:
        return np.nan
    if a.dtype == b.dtype and a.tobytes() == b.tobytes():
        return -1.0
    with np.errstate(invalid="ignore"):
        return float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64)), initial=0.0))


def forward_difference(spec: ExperimentSpec, weights: Arrays) -> tuple[int, float]:
    """Side of a drawn square image, and the worst relative difference of the twins' predictions in float64.

    Raises:
        UserError: a framework cannot start or cannot answer.
    """
    side = _smallest_side(spec)
    images = np.random.default_rng(0).random((1, 3, side, side))
    answers = []
    for name in ("torch", "jittor"):
        try:
            with open_framework(name) as framework:
                case = Case("forward", spec)
                answers.append(framework.trace(case, weights, {"images": images}, device="cpu", dtype="float64"))
        except WorkerFailure as error:
            raise UserError(f"{name} cannot run these weights: {error.message}") from None
    a, b = answers
    pairs = [(a[f"forward/{key}"], b[f"forward/{key}"]) for key in ("pred_logits", "pred_boxes")]
    return side, max(float(np.max(np.abs(x - y) / np.maximum(1.0, np.abs(x)))) for x, y in pairs)


def _smallest_side(spec: ExperimentSpec) -> int:
    """Pixels of the smallest square whose tokens are enough for the queries, and its last level not one pixel."""
    strides = spec.model.backbone.out_strides
    side = 2 * max(strides)
    while sum((side // stride) ** 2 for stride in strides) < spec.model.decoder.num_queries:
        side += max(strides)
    return side
