"""COCO results and statistics of the averaged model on the images of a subset."""

import contextlib
import io
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from experiments.data.batches import Batch, evaluation_batches
from experiments.data.categories import Classes
from experiments.data.coco import CocoSplit
from experiments.runs.data import Subset
from frameworks.arrays import Arrays
from frameworks.config import DataSpec
from frameworks.protocol import Detections
from reports.run.meta import COCO_STATS

Result = dict[str, Any]  # COCO's: image_id, category_id, bbox [x, y, width, height] in pixels, score
Predict = Callable[[Arrays], Detections]


@dataclass(frozen=True)
class Evaluated:
    """COCO's statistics (-1 where COCO defines none), the results behind them, and the duration in seconds.

    ``seconds`` includes the compilation of kernels, which is given apart too. ``losses`` are the weighted terms of
    the final predictions, if they were asked for: the mean over images of the losses of their batches.
    """

    stats: dict[str, float]
    results: list[Result]
    seconds: float
    kernels_compiled: int = 0
    compile_seconds: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)


def evaluate(
    predict: Predict,
    subset: Subset,
    data: DataSpec,
    on_images: Callable[[int], None] = lambda count: None,
    losses: bool = False,
) -> Evaluated:
    """Detect on every image of `subset` and score with pycocotools; `on_images` receives each batch's size.

    Every batch that `predict` gets has the same size, because some frameworks compile kernels for each size: the
    last one is filled up, and what is found on the filling is dropped.
    """
    start = time.perf_counter()
    results: list[Result] = []
    sums: dict[str, float] = {}
    kernels, compile_seconds = 0, 0.0
    batches = evaluation_batches(subset.split, subset.ids, batch_size=data.batch_size, image_size=data.image_size)
    with contextlib.closing(cast(Generator[Batch, None, None], batches)):
        for batch in batches:
            count, sizes_wh_B2 = len(batch.image_ids), batch.arrays["original_sizes_wh"]
            images = {"images": batch.arrays["images"], "sizes_wh": sizes_wh_B2}
            inputs = {name: _filled(array, data.batch_size) for name, array in images.items()}
            targets = {name: batch.arrays[name] for name in ("labels", "boxes", "counts")} if losses else {}
            found = predict(inputs | targets)
            detections = {name: array[:count] for name, array in found.arrays.items()}
            results += coco_results(batch.image_ids, detections, subset.split.classes)
            kernels, compile_seconds = kernels + found.kernels_compiled, compile_seconds + found.compile_seconds
            for name, value in found.losses.items():
                sums[name] = sums.get(name, 0.0) + count * value
            on_images(count)
    stats = coco_stats(subset.split, subset.ids, results)
    mean = {name: value / len(subset.ids) for name, value in sums.items()}
    return Evaluated(stats, results, time.perf_counter() - start, kernels, compile_seconds, mean)


def _filled(array: np.ndarray, count: int) -> np.ndarray:
    """The array with its last row repeated until it has `count` rows."""
    return np.concatenate([array, np.repeat(array[-1:], count - len(array), axis=0)])


def coco_results(image_ids: Sequence[int], detections: Arrays, classes: Classes) -> list[Result]:
    """Detections of a batch (boxes xyxy in pixels of the original image) as COCO results with category ids.

    Boxes are not clipped to the image, as in the official evaluation: clipping would change their IoU.
    """
    boxes_xywh_BQ4 = detections["boxes"].astype(float)
    boxes_xywh_BQ4[..., 2:] -= boxes_xywh_BQ4[..., :2]
    images = zip(image_ids, detections["labels"], boxes_xywh_BQ4, detections["scores"], strict=True)
    return [
        {
            "image_id": image_id,
            "category_id": classes.id_of(int(label)),
            "bbox": box.tolist(),
            "score": float(score),
        }
        for image_id, labels_Q, boxes_Q4, scores_Q in images
        for label, box, score in zip(labels_Q, boxes_Q4, scores_Q, strict=True)
    ]


def coco_stats(split: CocoSplit, ids: Sequence[int], results: Sequence[Result]) -> dict[str, float]:
    """COCO's twelve numbers over the images `ids` alone: images without detections and without objects count."""
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports its progress by printing
        evaluation = matched(split, ids, results)
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(COCO_STATS, (float(value) for value in evaluation.stats), strict=True))


def matched(split: CocoSplit, ids: Sequence[int], results: Sequence[Result]) -> COCOeval:
    """An evaluation in which the results of each image are matched with its objects, but not yet counted."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _index(ground_truth(split, ids))
        # loadRes cannot take an empty list, and adds fields to the dictionaries that it is given
        found = (
            truth.loadRes(cast(Any, [dict(each) for each in results]))
            if results
            else _index(ground_truth(split, ids) | {"annotations": []})
        )
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.params.imgIds = list(ids)
        evaluation.evaluate()
    return evaluation


def ground_truth(split: CocoSplit, ids: Sequence[int]) -> dict[str, Any]:
    """The objects of the images `ids` in COCO's format, as its tools read them from a file."""
    images = [split.images[image_id] for image_id in ids]
    annotations = [asdict(each) for image_id in ids for each in split.annotations[image_id]]
    for each in annotations:
        each |= {"bbox": list(each.pop("bbox_xywh")), "iscrowd": int(each["iscrowd"])}
    return {
        "info": {},
        "images": [{"id": each.id, "width": each.width, "height": each.height} for each in images],
        "annotations": annotations,
        "categories": [{"id": key, "name": name} for key, name in split.categories.items()],
    }


def _index(document: dict[str, Any]) -> COCO:
    coco = COCO()
    cast(Any, coco).dataset = document
    coco.createIndex()
    return coco
