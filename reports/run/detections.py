"""The figure of detections: a row per sample image, a column for the ground truth and for each framework."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from frameworks.errors import UserError
from reports import style
from reports.frameworks import style_of
from reports.run.files import SAMPLE_IMAGES
from reports.run.matches import OVERLAP, Outcome, covered, outcome, score_threshold, without_duplicates
from reports.run.records import Box, RunRecords

WIDTH = 7.3  # inches: 1022 pixels, no more than GitHub shows
FLATTEST, TALLEST = 0.2, 0.8  # height of a row as a share of its cell's width; taller images are drawn narrower
LABEL_SIZE, MOST_LABELS = 6.5, 12
OBJECT, FOUND, FALSE = "white", style.GROUND_TRUTH_COLOR, "#F0E442"
HALO = {OBJECT: "black", FOUND: "white", FALSE: "black"}


@style.plain
def detection_grid(run: RunRecords, path: Path) -> Path | None:
    """Draw the figure and return `path`; None if the run has no samples or no predictions."""
    predictors = [framework for framework in run.frameworks if framework.predictions]
    if not run.samples or not predictors:
        return None
    images, threshold = load_images(run), score_threshold(run)
    columns = 1 + len(predictors)
    cell = WIDTH / columns
    shapes = [images[sample.image_id].shape for sample in run.samples]
    heights = [cell * min(max(shape[0] / shape[1], FLATTEST), TALLEST) for shape in shapes]
    figure = style.new_figure(sum(heights) + 0.26 * len(heights) + 0.35, width=WIDTH)
    grid = figure.subplots(len(run.samples), columns, squeeze=False, height_ratios=heights)
    for row, sample in enumerate(run.samples):
        image_HW3 = images[sample.image_id]
        per_point = image_HW3.shape[0] / (72 * heights[row])
        axes = _panel(grid[row, 0], image_HW3, style.NEUTRAL_COLOR, f"ground truth, {sample.split}")
        _outline(axes, sample.ground_truth, OBJECT)
        _labels(axes, [(box, OBJECT) for box in _largest(sample.ground_truth)], image_HW3, per_point)
        for column, framework in enumerate(predictors, start=1):
            judged = outcome(framework, sample, run.categories, threshold)
            look = style_of(framework.name)
            axes = _panel(grid[row, column], image_HW3, look.color, f"{look.label}: {counts(judged)}")
            _draw_outcome(axes, judged, image_HW3, per_point)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return style.save(figure, path)


@style.plain
def draw_side_by_side(image_HW3: NDArray[np.uint8], boxes: Mapping[str, Sequence[Box]], path: Path) -> Path:
    """Draw one image with the boxes of each framework, best first, side by side, and return `path`.

    Duplicates are left out of the picture alone. Boxes have no colour of right or wrong: nobody knows the truth.
    """
    cell = WIDTH / len(boxes)
    height = cell * min(max(image_HW3.shape[0] / image_HW3.shape[1], FLATTEST), TALLEST)
    figure = style.new_figure(height + 0.3, width=WIDTH)
    for axes, (name, found) in zip(figure.subplots(1, len(boxes), squeeze=False)[0], boxes.items(), strict=True):
        shown, look = without_duplicates(found), style_of(name)
        _panel(axes, image_HW3, look.color, f"{look.label}: {len(shown)} shown")
        _outline(axes, shown, FOUND)
        _labels(axes, [(box, FOUND) for box in shown], image_HW3, image_HW3.shape[0] / (72 * height))
    return style.save(figure, path)


def load_images(run: RunRecords) -> dict[int, NDArray[np.uint8]]:
    """Read the samples: image id -> uint8 [H, W, 3]. Raises UserError if one is missing or has another shape."""
    path = run.folder / SAMPLE_IMAGES
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as safetensors: {error}") from None
    images = {}
    for sample in run.samples:
        tensor = tensors.get(f"image_{sample.image_id}")
        if tensor is None or tensor.ndim != 3 or tensor.shape[2] != 3 or tensor.dtype != np.uint8:
            found = "nothing" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"
            raise UserError(f"{path}: image_{sample.image_id} should be uint8 [H, W, 3], found {found}")
        images[sample.image_id] = tensor
    return images


def counts(judged: Outcome) -> str:
    """How many objects were found and missed, and how many boxes are false."""
    return f"{len(judged.found)} found, {len(judged.false)} false, {len(judged.missed)} missed"


def _panel(axes: Axes, image_HW3: NDArray[np.uint8], color: str, title: str) -> Axes:
    axes.imshow(image_HW3)
    height, width = image_HW3.shape[:2]
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=color, linewidth=1.6)
    axes.set_title(title, fontsize=8, color=color, loc="left", pad=3)
    return axes


def _draw_outcome(axes: Axes, judged: Outcome, image_HW3: NDArray[np.uint8], per_point: float) -> None:
    _outline(axes, judged.missed, OBJECT, dashed=True)
    _outline(axes, judged.false, FALSE)
    _outline(axes, judged.found, FOUND)
    found, false = [(box, FOUND) for box in judged.found], [(box, FALSE) for box in judged.false]
    _labels(axes, [*found, *false], image_HW3, per_point)


def _outline(axes: Axes, boxes: Sequence[Box], color: str, dashed: bool = False) -> None:
    """Draw all boxes at once; the halo keeps them visible on any image."""
    corners = []
    for box in boxes:
        x, y, width, height = box.bbox
        corners.append([(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)])
    axes.add_collection(LineCollection(corners, colors=HALO[color], linewidths=2.0))
    axes.add_collection(LineCollection(corners, colors=color, linewidths=1.0, linestyles=_dashes(dashed)))


def _dashes(dashed: bool) -> Any:
    return (0, (3, 2)) if dashed else "solid"


def _largest(boxes: Sequence[Box]) -> list[Box]:
    return sorted(boxes, key=lambda box: -box.bbox[2] * box.bbox[3])


def _labels(axes: Axes, named: Sequence[tuple[Box, str]], image_HW3: NDArray[np.uint8], per_point: float) -> None:
    """Write name and score beside the boxes, the first ones first; one without a good place stays unnamed.

    Args:
        named: boxes with their colours.
        per_point: image pixels of a point; the axes' size is settled only when drawing, so it is estimated.
    """
    height, width = image_HW3.shape[:2]
    boxes, taken = [box for box, _ in named], []
    tall = 1.45 * LABEL_SIZE * per_point
    for box, color in named[: 3 * MOST_LABELS]:
        text = box.category if box.score is None else f"{box.category} {box.score:.2f}"
        wide = 0.62 * LABEL_SIZE * len(text) * per_point
        for x, y in _corners(box, wide, tall):
            place = Box("", (min(max(x, 0.0), max(0.0, width - wide)), y, wide, tall))
            inside = y >= 0 and y + tall <= height
            if inside and not covered([place], taken).any() and not (covered([place], boxes) > 0.5).any():
                taken.append(place)
                ground = {"facecolor": color, "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
                ink = "white" if color == FOUND else "black"
                look = {"fontsize": LABEL_SIZE, "color": ink, "va": "top", "ha": "left", "clip_on": True}
                look |= {"parse_math": False}  # a class may be called $x
                axes.text(place.bbox[0], y, text, bbox=ground, **look)
                break
        if len(taken) >= MOST_LABELS:
            return


def _corners(box: Box, wide: float, tall: float) -> list[tuple[float, float]]:
    """Where the upper left corner of a label may be, best first."""
    x, y, width, height = box.bbox
    left, right = x, x + width - wide
    return [(left, y - tall), (left, y + height), (right, y - tall), (right, y + height), (left, y)]


def _legend() -> list[Line2D]:
    rows = (
        (OBJECT, False, "object"),
        (FOUND, False, f"found: right class, IoU ≥ {OVERLAP:g}"),
        (FALSE, False, "false"),
        (OBJECT, True, "missed object"),
    )
    handles = []
    for color, dashed, text in rows:
        halo = [patheffects.withStroke(linewidth=4, foreground=HALO[color])]
        look = {"linewidth": 2, "linestyle": _dashes(dashed), "path_effects": halo}
        handles.append(Line2D([], [], color=color, label=text, **look))
    return handles
