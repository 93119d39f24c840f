"""The figure of detections: a row per sample image, a column for the ground truth and for each framework."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from frameworks.errors import UserError
from reports import formatting as show
from reports import style
from reports.frameworks import style_of
from reports.run.files import SAMPLE_IMAGES
from reports.run.records import Box, FrameworkRecords, RunRecords, Sample

TOP_BOXES = 10
LABEL_SIZE = 6.5
TALLEST = 3  # height of a cell over its width; an image of 10 x 20,000 pixels lies inside it


def detection_grid(run: RunRecords, path: Path) -> Path | None:
    """Draw the figure and return `path`; None if the run has no samples or no predictions."""
    predictors = [framework for framework in run.frameworks if framework.predictions]
    if not run.samples or not predictors:
        return None
    images = load_images(run)
    columns = 1 + len(predictors)
    cell = 10.5 / columns
    shapes = [images[sample.image_id].shape for sample in run.samples]
    heights = [cell * min(max(height / width, 1 / TALLEST), TALLEST) for height, width, _ in shapes]
    figure = style.new_figure(sum(heights) + 0.32 * len(heights) + 0.3, width=10.5)
    grid = figure.subplots(len(run.samples), columns, squeeze=False, height_ratios=heights)
    for row, sample in enumerate(run.samples):
        image_HW3 = images[sample.image_id]
        title = f"image {sample.image_id} ({sample.split}): ground truth"
        _draw(grid[row, 0], image_HW3, sample.ground_truth, style.GROUND_TRUTH_COLOR, title, cell)
        for column, framework in enumerate(predictors, start=1):
            boxes = top_boxes(framework, sample, run.categories)
            _draw(
                grid[row, column], image_HW3, boxes, style_of(framework.name).color, _title(framework, boxes), cell
            )
    figure.suptitle(f"Ground truth and each framework's {TOP_BOXES} best-scored boxes", fontsize=12)
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


def top_boxes(framework: FrameworkRecords, sample: Sample, categories: dict[int, str]) -> tuple[Box, ...]:
    """The TOP_BOXES best-scored boxes of one image, best first: no threshold, so early runs show some too."""
    results: list[dict[str, Any]] = framework.predictions.get(sample.split, [])
    found = [item for item in results if int(item["image_id"]) == sample.image_id]
    found.sort(key=lambda item: -float(item["score"]))
    boxes = []
    for item in found[:TOP_BOXES]:
        x, y, width, height = (float(value) for value in item["bbox"])
        name = categories.get(int(item["category_id"]), f"category {item['category_id']}")
        boxes.append(Box(name, (x, y, width, height), float(item["score"])))
    return tuple(boxes)


def _title(framework: FrameworkRecords, boxes: tuple[Box, ...]) -> str:
    scores = [box.score for box in boxes if box.score is not None]
    if not scores:
        return f"{show.label(framework.name)}: no box recorded"
    return f"{show.label(framework.name)}: scores {min(scores):.2f} to {max(scores):.2f}"


def _draw(
    axes: Axes, image_HW3: NDArray[np.uint8], boxes: tuple[Box, ...], color: str, title: str, cell_inches: float
) -> None:
    axes.imshow(image_HW3)
    height, width = image_HW3.shape[:2]
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    axes.set_title(title, fontsize=9, color=color, loc="left")
    halo = [patheffects.withStroke(linewidth=2.8, foreground="white")]
    # worst first, so that the best boxes lie on top and keep their labels in the best places
    for box in reversed(boxes):
        look = {"fill": False, "edgecolor": color, "linewidth": 1.3, "path_effects": halo}
        axes.add_patch(Rectangle(box.bbox[:2], box.bbox[2], box.bbox[3], **look))
    taken: list[Bbox] = []
    for box in boxes:
        _label(axes, box, color, (width, height), cell_inches, taken)


def _label(axes: Axes, box: Box, color: str, size: tuple[int, int], cell_inches: float, taken: list[Bbox]) -> None:
    """Write a box's name and score at its corner, or at the nearest free place above or below it."""
    text = box.category if box.score is None else f"{box.category} {box.score:.2f}"
    # the axes' size is settled only when drawing, so the label's size in image pixels is estimated
    per_point = size[0] / (72 * cell_inches)
    wide, tall = 0.62 * LABEL_SIZE * len(text) * per_point, 1.5 * LABEL_SIZE * per_point
    x = min(max(box.bbox[0], 0.0), max(0.0, size[0] - wide))
    top, lowest = max(box.bbox[1], 0.0), size[1] - tall
    shifts = sorted(range(-4 * TOP_BOXES, 4 * TOP_BOXES + 1), key=lambda shift: (abs(shift), -shift))
    rows = [top + 0.5 * tall * shift for shift in shifts]
    places = [Bbox.from_bounds(x, y, wide, 0.98 * tall) for y in rows if 0 <= y <= lowest]
    free = (place for place in places if not any(place.overlaps(other) for other in taken))
    place = next(free, Bbox.from_bounds(x, min(top, max(lowest, 0.0)), wide, tall))
    taken.append(place)
    ground = {"facecolor": color, "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
    look = {"fontsize": LABEL_SIZE, "color": "white", "va": "top", "ha": "left", "clip_on": True}
    axes.text(x, place.y0, text, bbox=ground, **look)
