"""What is wrong with detections: the six types of error that TIDE (Bolya et al., ECCV 2020) defines.

Shapes: N detections of one image, best first, M objects.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frameworks.errors import UserError
from reports import formatting as show
from reports.jsonl import read_object
from reports.language import say
from reports.markdown import table
from reports.run import files
from reports.run.matches import covered, overlaps, pair, score_threshold
from reports.run.records import SPLITS, Box, FrameworkRecords, RunRecords

FOREGROUND, BACKGROUND = 0.5, 0.1  # IoU from which an object is found, and below which nothing of it is
CORRECT, MISSED = "correct", "missed"
LOCALISATION, CLASS, BOTH = "localisation", "class", "both"
DUPLICATE, NOTHING = "duplicate", "background"


@dataclass(frozen=True)
class Objects:
    """The ground truth of one image; what is detected on a crowd counts neither way."""

    single: tuple[Box, ...] = ()
    crowds: tuple[Box, ...] = ()


def error_table(run: RunRecords) -> str | None:
    """A row per split, framework and control: how many detections of each type; None without ground truth."""
    threshold, rows = score_threshold(run), []
    for split in SPLITS:
        truth = read_ground_truth(run.folder, split)
        for entry in run.entries:
            if truth and split in entry.predictions:
                counts = count_errors(entry, split, truth, threshold)
                row = {say("split"): split, say("framework"): show.label(entry.name)}
                rows.append(row | {title: f"{counts[name]:,}" for name, title in _titles().items()})
    return table(rows, left=2) if rows else None


def _titles() -> dict[str, str]:
    """The types in the order of the table, with the names of their columns."""
    return {
        CORRECT: say("correct"),
        LOCALISATION: say("localisation"),
        CLASS: say("class"),
        BOTH: say("both"),
        DUPLICATE: say("duplicate"),
        NOTHING: say("background"),
        MISSED: say("missed"),
    }


def read_ground_truth(folder: Path, split: str) -> dict[int, Objects]:
    """The objects by image, {} where the run did not record them. Raises UserError for a broken file."""
    path = folder / files.ground_truth(split)
    if not path.exists():
        return {}
    document = read_object(path)
    try:
        found: dict[int, tuple[list[Box], list[Box]]] = {int(each["id"]): ([], []) for each in document["images"]}
        for each in document["annotations"]:
            x, y, width, height = map(float, each["bbox"])
            box = Box(str(each["category_id"]), (x, y, width, height))
            found[int(each["image_id"])][int(each["iscrowd"])].append(box)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(f"{path}: is not in COCO's format: {type(error).__name__}: {error}") from None
    return {image: Objects(tuple(single), tuple(crowds)) for image, (single, crowds) in found.items()}


def count_errors(
    framework: FrameworkRecords, split: str, truth: dict[int, Objects], threshold: float
) -> Counter[str]:
    """How many detections of a split, from the score ``threshold`` on, are of each type; how many are missed."""
    boxes: dict[int, list[Box]] = {image: [] for image in truth}
    for item in framework.predictions.get(split, []):
        if float(item["score"]) >= threshold and int(item["image_id"]) in boxes:
            x, y, width, height = map(float, item["bbox"])
            box = Box(str(item["category_id"]), (x, y, width, height), float(item["score"]))
            boxes[int(item["image_id"])].append(box)
    counts = Counter[str]()
    for image, found in boxes.items():
        counts += image_errors(sorted(found, key=lambda box: -(box.score or 0.0)), truth[image])
    return counts


def image_errors(boxes: Sequence[Box], objects: Objects) -> Counter[str]:
    """The types of the detections of one image, best first, and its missed objects.

    A detection is of the first type that fits: it finds an object (CORRECT); its class is right and its IoU too
    small (LOCALISATION); its box is right and its class wrong (CLASS); both are right, but a better one has found
    the object (DUPLICATE); it is on nothing (NOTHING); its box and its class are wrong (BOTH). Missed are the
    objects that nothing finds and that no detection would find with another box or class.
    """
    truth = objects.single
    iou_NM = overlaps(boxes, truth)
    same_NM = np.array([[box.category == each.category for each in truth] for box in boxes], bool)
    same_NM = same_NM.reshape(iou_NM.shape)
    found_N = pair(iou_NM, same_NM)
    left_M = np.ones(len(truth), bool)
    left_M[[each for each in found_N if each is not None]] = False
    counts = Counter[str]({CORRECT: int((~left_M).sum())})
    for number, box in enumerate(boxes):
        if found_N[number] is not None or _on_crowd(box, objects.crowds):
            continue
        name, place = _type(iou_NM[number], same_NM[number])
        counts[name] += 1
        if place is not None:
            left_M[place] = False
    counts[MISSED] = int(left_M.sum())
    return counts


def _type(iou_M: NDArray[np.float64], same_M: NDArray[np.bool_]) -> tuple[str, int | None]:
    """The type of a detection that finds nothing, and the object that it would find without its error."""
    own_M, other_M = np.where(same_M, iou_M, -1.0), np.where(same_M, -1.0, iou_M)
    own, other = own_M.max(initial=-1.0), other_M.max(initial=-1.0)
    if BACKGROUND <= own < FOREGROUND:
        return LOCALISATION, int(own_M.argmax())
    if other >= FOREGROUND:
        return CLASS, int(other_M.argmax())
    if own >= FOREGROUND:
        return DUPLICATE, None  # or it would have found the object itself
    return (BOTH if other >= BACKGROUND else NOTHING), None


def _on_crowd(box: Box, crowds: Sequence[Box]) -> bool:
    """Whether half of a detection lies on a crowd of its class, by which COCO lets it count neither way."""
    own = [each for each in crowds if each.category == box.category]
    return bool((covered(own, [box]) >= FOREGROUND).any())
