"""Choose a small, seeded subset of images that covers every category."""

from experiments.data.coco import CocoSplit
from experiments.data.keyed_random import uniform
from frameworks.errors import UserError

# Images without a usable box count as one more category, so that about 1 % are chosen, as many as COCO has.
_NO_OBJECTS = None


def choose_subset(split: CocoSplit, count: int, seed: int) -> list[int]:
    """Choose `count` image ids, in the order of choice.

    Greedy: repeatedly, the category on the fewest chosen images gets one more image. Keyed draws break ties between
    categories and between images, so the choice depends on `seed` and the ids, not on the order of the file. It is
    nested: the first k of n chosen images are the choice of k, from the whole split and from a split of only those
    n images. A folder with the first n therefore serves every choice of k <= n.

    Raises UserError if `count` is below 1 or above the number of images.
    """
    available = len(split.images)
    if not 1 <= count <= available:
        raise UserError(
            f"{count} images asked for, but the {split.name} split at {split.root} has {available}; "
            f"ask for 1 to {available}"
        )
    categories_of = {image_id: _categories_on(split, image_id) for image_id in split.images}
    queues = _queues(categories_of, seed)
    # without objects last of equals: a data set of its own may have a category 0
    rank = {each: (uniform("subset/category", seed, each or 0), each is _NO_OBJECTS) for each in queues}
    covered = dict.fromkeys(queues, 0)
    chosen: dict[int, None] = {}
    while len(chosen) < count:
        category = min(queues, key=lambda candidate: (covered[candidate], rank[candidate]))
        queue = queues[category]
        while queue and queue[-1] in chosen:
            queue.pop()
        if not queue:
            del queues[category]
            continue
        image_id = queue.pop()
        chosen[image_id] = None
        for present in categories_of[image_id]:
            covered[present] += 1
    return list(chosen)


def _categories_on(split: CocoSplit, image_id: int) -> frozenset[int | None]:
    found: frozenset[int | None] = frozenset(
        each.category_id for each in split.annotations[image_id] if not each.iscrowd
    )
    return found or frozenset([_NO_OBJECTS])


def _queues(categories_of: dict[int, frozenset[int | None]], seed: int) -> dict[int | None, list[int]]:
    """Image ids of each category, the next one to choose last."""
    queues: dict[int | None, list[int]] = {}
    for image_id in sorted(categories_of, key=lambda each: uniform("subset/image", seed, each), reverse=True):
        for category in categories_of[image_id]:
            queues.setdefault(category, []).append(image_id)
    return queues
