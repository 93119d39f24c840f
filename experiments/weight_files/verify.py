"""Compare two sets of weights bit by bit, and the frameworks' predictions from one set on one image."""

from dataclasses import dataclass

import numpy as np

from experiments.weight_files.account import group_of
from frameworks import REFERENCE, candidates
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec
from frameworks.errors import UserError
from frameworks.protocol import Case
from frameworks.workers.client import WorkerFailure, open_framework


@dataclass(frozen=True)
class Difference:
    """Tensors of one module: how many, how many bit-identical, the largest |a - b| and the tensor with it."""

    group: str
    tensors: int
    identical: int
    worst: float
    name: str


def differences(a: Arrays, b: Arrays) -> list[Difference]:
    """Compare the tensors of ``a`` with those of ``b`` by name, grouped by module, in canonical order.

    Equal bits are identical, NaN included. ``worst`` is NaN where ``b`` lacks the tensor or has another shape.
    """
    groups: dict[str, list[tuple[float, str]]] = {}
    for name in a:
        groups.setdefault(group_of(name), []).append((_worst(a[name], b.get(name)), name))
    return [_summarised(group, found) for group, found in groups.items()]


def _summarised(group: str, found: list[tuple[float, str]]) -> Difference:
    worst, name = max(found, key=lambda pair: np.inf if np.isnan(pair[0]) else pair[0])
    identical = sum(value == -1 for value, _ in found)
    return Difference(group, len(found), identical, max(worst, 0.0), name)


def _worst(a: np.ndarray, b: np.ndarray | None) -> float:
    """-1 for the same bits, else the largest |a - b|; NaN where b is missing or has another shape."""
    if b is None or a.shape != b.shape:
        return np.nan
    if a.dtype == b.dtype and a.tobytes() == b.tobytes():
        return -1.0
    with np.errstate(invalid="ignore"):
        return float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64)), initial=0.0))


def forward_differences(spec: ExperimentSpec, weights: Arrays) -> tuple[int, dict[str, float]]:
    """Compare every candidate's predictions with the reference's on one drawn square image, in float64.

    Returns:
        the image's side in pixels, and for each candidate the largest |candidate - reference| over logits and
        boxes, relative to max(1, |reference|).

    Raises:
        UserError: a framework cannot start or cannot run these weights.
    """
    side = _smallest_side(spec)
    images = np.random.default_rng(0).random((1, 3, side, side))
    reference, *others = (_predictions(name, spec, weights, images) for name in (REFERENCE, *candidates()))
    return side, dict(zip(candidates(), (_relative(other, reference) for other in others), strict=True))


def _predictions(name: str, spec: ExperimentSpec, weights: Arrays, images: np.ndarray) -> Arrays:
    try:
        with open_framework(name) as framework:
            case = Case("forward", spec)
            return framework.trace(case, weights, {"images": images}, device="cpu", dtype="float64")
    except WorkerFailure as error:
        raise UserError(f"{name} cannot run these weights: {error.message}") from None


def _relative(candidate: Arrays, reference: Arrays) -> float:
    pairs = [(candidate[name], reference[name]) for name in ("forward/pred_logits", "forward/pred_boxes")]
    return max(float(np.max(np.abs(x - y) / np.maximum(1.0, np.abs(y)))) for x, y in pairs)


def _smallest_side(spec: ExperimentSpec) -> int:
    """Side in pixels of the smallest square that has a token for every query and 2 x 2 tokens on the last level."""
    strides = spec.model.backbone.out_strides
    side = 2 * max(strides)
    while sum((side // stride) ** 2 for stride in strides) < spec.model.decoder.num_queries:
        side += max(strides)
    return side
