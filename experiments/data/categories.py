"""COCO's 80 categories: original ids (1..90 with gaps), names, and contiguous labels.

The labels are those of the official `remap_mscoco_category`: 0..79 in the order of the ids. They depend on COCO
alone, never on which categories a data set happens to list, so that a model's class k means the same everywhere.
"""

from frameworks.errors import UserError

COCO_NAMES: dict[int, str] = {
    1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train", 8: "truck",
    9: "boat", 10: "traffic light", 11: "fire hydrant", 13: "stop sign", 14: "parking meter", 15: "bench",
    16: "bird", 17: "cat", 18: "dog", 19: "horse", 20: "sheep", 21: "cow", 22: "elephant", 23: "bear",
    24: "zebra", 25: "giraffe", 27: "backpack", 28: "umbrella", 31: "handbag", 32: "tie", 33: "suitcase",
    34: "frisbee", 35: "skis", 36: "snowboard", 37: "sports ball", 38: "kite", 39: "baseball bat",
    40: "baseball glove", 41: "skateboard", 42: "surfboard", 43: "tennis racket", 44: "bottle",
    46: "wine glass", 47: "cup", 48: "fork", 49: "knife", 50: "spoon", 51: "bowl", 52: "banana", 53: "apple",
    54: "sandwich", 55: "orange", 56: "broccoli", 57: "carrot", 58: "hot dog", 59: "pizza", 60: "donut",
    61: "cake", 62: "chair", 63: "couch", 64: "potted plant", 65: "bed", 67: "dining table", 70: "toilet",
    72: "tv", 73: "laptop", 74: "mouse", 75: "remote", 76: "keyboard", 77: "cell phone", 78: "microwave",
    79: "oven", 80: "toaster", 81: "sink", 82: "refrigerator", 84: "book", 85: "clock", 86: "vase",
    87: "scissors", 88: "teddy bear", 89: "hair drier", 90: "toothbrush",
}  # fmt: skip
COCO_CATEGORY_IDS: tuple[int, ...] = tuple(COCO_NAMES)
COCO_CATEGORY_NAMES: tuple[str, ...] = tuple(COCO_NAMES.values())

_LABEL_OF_ID = {category_id: label for label, category_id in enumerate(COCO_CATEGORY_IDS)}


def category_to_label(category_id: int) -> int:
    """COCO category id (1..90 with gaps) -> contiguous label 0..79. Raises UserError for any other id."""
    if category_id not in _LABEL_OF_ID:
        raise UserError(
            f"category id {category_id} is none of COCO's 80 (1..90 with gaps); map the data set to COCO's"
        )
    return _LABEL_OF_ID[category_id]


def label_to_category(label: int) -> int:
    """Contiguous label 0..79 -> COCO category id. Raises UserError for any other label."""
    if not 0 <= label < len(COCO_CATEGORY_IDS):
        raise UserError(f"label {label} is outside 0..{len(COCO_CATEGORY_IDS) - 1}; expected a label of COCO's 80")
    return COCO_CATEGORY_IDS[label]
