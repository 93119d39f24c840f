"""COCO's twelve numbers, classes and curves of resampled images, against pycocotools on the same images."""

import numpy as np
import pytest

from experiments.runs.evaluation import coco_stats, matched
from experiments.runs.resampled import precision_curves, resample
from experiments.tests.test_bootstrap import IMAGES, detections, split_with
from reports.run.meta import COCO_STATS

ONCE = [1] * IMAGES


@pytest.mark.parametrize("counts", [ONCE, [3, 0, 1, 0, 2, 0], [2, 2, 0, 1, 1, 0]])
def test_every_number_is_that_of_the_images_as_often_as_they_count(counts: list[int]) -> None:
    split, ids, copies = split_with(ONCE)
    found = resample(matched(split, ids, detections(copies)), np.array([ONCE, counts]))
    one, chosen, drawn = split_with(counts)
    expected = coco_stats(one, chosen, detections(drawn))
    assert list(found.statistics) == list(COCO_STATS)
    values = {name: values_R[1] for name, values_R in found.statistics.items()}
    assert values == pytest.approx(expected, abs=1e-12)
    assert len({round(value, 6) for value in expected.values()}) > 8, "the example tells them apart"


def test_classes_and_curves_average_to_the_whole() -> None:
    split, ids, copies = split_with(ONCE)
    evaluation = matched(split, ids, detections(copies))
    found = resample(evaluation, np.array([ONCE]))
    assert [each.category for each in found.classes] == [1, 90]
    objects = [each for image in ids for each in split.annotations[image] if not each.iscrowd]
    for each in found.classes:
        own = [one for one in objects if one.category_id == each.category]
        assert (each.objects, each.images) == (len(own), len({one.image_id for one in own}))
    assert np.mean([each.ap_R[0] for each in found.classes]) == pytest.approx(found.statistics["AP"][0])
    assert np.mean([each.ap50_R[0] for each in found.classes]) == pytest.approx(found.statistics["AP50"][0])
    curves = precision_curves(evaluation)
    assert np.mean(curves["0.50"]) == pytest.approx(found.statistics["AP50"][0])
    assert np.mean(curves["0.75"]) == pytest.approx(found.statistics["AP75"][0])
