"""How far the detections of two frameworks on one image lie apart.

Shapes: N and M detections.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from frameworks.detector import Found
from reports.run.matches import OVERLAP, overlaps
from reports.run.records import Box

_NEAR_PX = 1.0
_NEVER = 1e6  # the cost of a pair that is none, more than all others together


@dataclass(frozen=True)
class Difference:
    """The largest differences between the partners of two lists of detections.

    ``score``, and ``box_px``: of any coordinate, in pixels of the image; 0 where there is no pair. ``pairs`` is how
    many there are, ``alone`` how many detections of either framework have no partner in the other.
    """

    score: float
    box_px: float
    pairs: int
    alone: int

    def __str__(self) -> str:
        largest = f"largest difference: score {self.score:.2g}, box {self.box_px:.2g} px" if self.pairs else ""
        alone = f"{self.alone} without a partner" if self.alone else ""
        return ", ".join(filter(None, [largest, alone])) or "nothing to compare"


def partners(first: Found, second: Found) -> list[tuple[int, int]]:
    """Pairs of detections of the same object, each detection in one pair at most, in the order of ``first``.

    Partners are of the same class, and overlap by an IoU over 0.5 or lie less than a pixel apart. Of all choices
    the one with the least difference in scores and boxes is taken.
    """
    apart_NM = np.abs(first.boxes_xyxy_N4[:, None] - second.boxes_xyxy_N4[None]).max(-1)
    same_NM = first.labels_N[:, None] == second.labels_N[None]
    possible_NM = same_NM & ((overlaps(_boxes(first), _boxes(second)) > OVERLAP) | (apart_NM < _NEAR_PX))
    largest = max(1.0, float(np.abs(apart_NM).max(initial=0)))
    cost_NM = np.abs(first.scores_N[:, None] - second.scores_N[None]) + apart_NM / largest
    rows, columns = linear_sum_assignment(np.where(possible_NM, cost_NM, _NEVER))
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if possible_NM[i, j]]


def _boxes(found: Found) -> list[Box]:
    return [Box("", (x, y, width, height)) for x, y, width, height in found.boxes_xywh().tolist()]


def shown_partners(first: Found, second: Found, threshold: float) -> list[tuple[int, int]]:
    """The ``partners`` of which one or both have a score of ``threshold`` or more."""
    pairs = partners(first, second)
    return [(i, j) for i, j in pairs if max(first.scores_N[i], second.scores_N[j]) >= threshold]


def difference(first: Found, second: Found, threshold: float) -> Difference:
    """Compare the partners of which one or both have a score of ``threshold`` or more."""
    shown = shown_partners(first, second, threshold)
    scores = [abs(float(first.scores_N[i]) - float(second.scores_N[j])) for i, j in shown]
    boxes = [float(np.abs(first.boxes_xyxy_N4[i] - second.boxes_xyxy_N4[j]).max()) for i, j in shown]
    alone = sum(
        int((found.scores_N >= threshold).sum()) - sum(found.scores_N[pair[side]] >= threshold for pair in shown)
        for side, found in enumerate((first, second))
    )
    return Difference(max(scores, default=0.0), max(boxes, default=0.0), len(shown), int(alone))
