"""COCO's 80 categories: original ids (1..90 with gaps), names, and contiguous labels.

Labels are those of the official `remap_mscoco_category`: 0..79 in the order of the ids. They do not depend on which
categories a data set lists, so class k of a model means the same everywhere.
"""

from frameworks.errors import UserError

_NAMES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella,
handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard,
surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange,
broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv,
laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase,
scissors, teddy bear, hair drier, toothbrush
"""
_UNUSED_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_CATEGORY_IDS = tuple(each for each in range(1, 91) if each not in _UNUSED_IDS)
COCO_CATEGORY_NAMES = tuple(" ".join(name.split()) for name in _NAMES.split(","))
COCO_NAMES = dict(zip(COCO_CATEGORY_IDS, COCO_CATEGORY_NAMES, strict=True))
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
