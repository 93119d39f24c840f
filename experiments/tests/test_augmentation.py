"""Augmentation: boxes stay on their objects, and every draw is distributed as in the official pipeline."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from experiments.data.augmentation import iou_crop, pipeline
from experiments.data.augmentation.annotated_image import AnnotatedImage, Window
from experiments.data.augmentation.pipeline import DrawKey, augment
from experiments.data.augmentation.zoom_out import draw_canvas
from experiments.data.images import flip_horizontal
from experiments.data.keyed_random import Draws
from experiments.data.targets import ImageTargets, PixelTargets, normalised
from frameworks.config import AugmentationSpec
from frameworks.images import resize_bilinear

NOTHING = AugmentationSpec(photometric_distort=0, zoom_out=0, iou_crop=0, horizontal_flip=0, min_box_size=0)
STRONG = AugmentationSpec()  # the official probabilities
GEOMETRY = replace(STRONG, photometric_distort=0)
SIZE_WH, SIZE_HW = (96, 64), (64, 96)
COLOURS = {0: (255, 0, 0), 1: (0, 255, 0), 2: (0, 0, 255)}
BOXES_XYXY = np.array([[4, 4, 40, 30], [50, 2, 94, 20], [52, 30, 80, 62]], dtype=np.float32)


def scene() -> AnnotatedImage:
    """Three boxes on grey, each filled with the colour of its label."""
    image = Image.new("RGB", SIZE_WH, (90, 90, 90))
    for label, box in enumerate(BOXES_XYXY.astype(int).tolist()):
        image.paste(COLOURS[label], tuple(box))
    return AnnotatedImage(image, PixelTargets(np.arange(3), BOXES_XYXY.copy()))


def augmented(spec: AugmentationSpec, image_id: int, epoch: int = 0) -> tuple[Image.Image, ImageTargets]:
    return augment(scene(), spec, DrawKey(0, epoch, image_id), SIZE_HW)


def corners(targets: ImageTargets) -> np.ndarray:
    """Boxes as xyxy in pixels of the result, [N, 4]."""
    centres_N2, sizes_N2 = targets.boxes_cxcywh[:, :2].astype(float), targets.boxes_cxcywh[:, 2:].astype(float)
    return np.concatenate([centres_N2 - sizes_N2 / 2, centres_N2 + sizes_N2 / 2], axis=1) * (SIZE_WH * 2)


def test_boxes_stay_inside_and_on_their_objects() -> None:
    """Each box of the result encloses exactly the pixels that have the colour of its label."""
    seen = Counter()
    for image_id in range(150):
        image, targets = augmented(GEOMETRY, image_id)
        assert image.size == SIZE_WH and len(targets.labels) == len(targets.boxes_cxcywh)
        for label, box in zip(targets.labels, corners(targets), strict=True):
            assert (box > -1e-3).all() and (box < np.array(SIZE_WH * 2) + 1e-3).all()
            others = [channel for channel in range(3) if channel != label]
            pixels_HW3 = np.asarray(image, dtype=int)
            mine_HW = pixels_HW3[..., label] - pixels_HW3[..., others].max(axis=-1) > 100
            rows, columns = mine_HW.nonzero()
            painted = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_allclose(painted, box, atol=1.5, err_msg=f"image {image_id}, label {label}")
            seen[int(label)] += 1
    assert min(seen.values()) > 50


def test_kept_boxes_are_large_enough_and_shrink_only() -> None:
    spec = replace(STRONG, min_box_size=12.0)
    counts = Counter()
    for image_id in range(200):
        _, targets = augmented(spec, image_id)
        boxes_xyxy_N4 = corners(targets)
        assert ((boxes_xyxy_N4[:, 2:] - boxes_xyxy_N4[:, :2]) > 12 - 1e-4).all()
        counts[len(targets.labels)] += 1
    assert counts[3] > 20 and counts[1] + counts[2] > 20, "boxes must get lost, and not all of them"


def test_no_change_at_probability_zero() -> None:
    image, targets = augmented(NOTHING, 1)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(scene().image))
    np.testing.assert_array_equal(targets.boxes_cxcywh, normalised(scene().targets, SIZE_WH).boxes_cxcywh)
    np.testing.assert_array_equal(targets.labels, [0, 1, 2])


def test_colours_change_and_nothing_else_does() -> None:
    plain, targets = augmented(NOTHING, 0)
    for image_id in range(20):
        image, same = augmented(replace(NOTHING, photometric_distort=1), image_id)
        np.testing.assert_array_equal(same.boxes_cxcywh, targets.boxes_cxcywh)
        assert image.size == plain.size and image.tobytes() != plain.tobytes()


def test_the_flip_comes_before_the_resize() -> None:
    small_hw = (30, 50)
    image, targets = augment(scene(), replace(NOTHING, horizontal_flip=1), DrawKey(0, 0, 1), small_hw)
    plain = normalised(scene().targets, SIZE_WH).boxes_cxcywh
    flipped, boxes_cxcywh_N4 = flip_horizontal(scene().image, plain)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(resize_bilinear(flipped, small_hw)))
    np.testing.assert_array_equal(targets.boxes_cxcywh, boxes_cxcywh_N4)


def test_strong_changes_stop_and_the_flip_goes_on() -> None:
    spec = replace(STRONG, horizontal_flip=1, strong_stop_epoch=5)
    only_flip = augmented(replace(NOTHING, horizontal_flip=1), 0)
    for epoch, strong in ((3, True), (4, True), (5, False), (6, False)):
        results = [augmented(spec, image_id, epoch) for image_id in range(12)]
        as_flip = [np.array_equal(np.asarray(image), np.asarray(only_flip[0])) for image, _ in results]
        assert not all(as_flip) if strong else all(as_flip)
        if not strong:
            np.testing.assert_array_equal(results[0][1].boxes_cxcywh, only_flip[1].boxes_cxcywh)


def test_small_boxes_are_dropped_before_the_resize() -> None:
    """The second box is 18 of 64 pixels high; enlarged it would be 36."""
    spec = replace(NOTHING, min_box_size=20.0)
    assert augment(scene(), spec, DrawKey(0, 0, 1), (128, 192))[1].labels.tolist() == [0, 2]


def test_small_boxes_are_dropped_after_the_resize_too() -> None:
    """The third box is 28 of 96 pixels wide: 2.9 of 10."""
    spec = replace(NOTHING, min_box_size=3.0)
    assert augment(scene(), spec, DrawKey(0, 0, 1), SIZE_HW)[1].labels.tolist() == [0, 1, 2]
    assert augment(scene(), spec, DrawKey(0, 0, 1), (20, 10))[1].labels.tolist() == [0, 1]


def test_each_change_has_draws_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that one change switched off leaves the others as they were."""
    made = []
    monkeypatch.setattr(pipeline, "Draws", lambda *key: made.append(key) or Draws(*key))
    augment(scene(), STRONG, DrawKey(3, 4, 5), SIZE_HW)
    assert len(made) == len(set(made)) == 3 and {key[1:] for key in made} == {(3, 4, 5)}
    same = []
    for image_id in range(20):
        (one, _), (other, _) = augmented(STRONG, image_id), augmented(replace(STRONG, zoom_out=0), image_id)
        same.append(np.array_equal(np.asarray(one), np.asarray(other)))
    assert 0 < sum(same) < 20


def test_changes_follow_seed_epoch_and_image() -> None:
    def pixels(*key: int) -> bytes:
        return augment(scene(), STRONG, DrawKey(*key), SIZE_HW)[0].tobytes()

    assert pixels(0, 0, 7) == pixels(0, 0, 7)
    assert (
        len({pixels(seed, epoch, image) for seed in range(2) for epoch in range(2) for image in range(6, 8)}) == 8
    )


def test_an_image_without_boxes_stays_a_negative() -> None:
    empty = scene().keep(np.zeros(3, dtype=bool))
    for image_id in range(20):
        _, targets = augment(empty, STRONG, DrawKey(0, 0, image_id), SIZE_HW)
        assert targets.labels.shape == (0,) and targets.boxes_cxcywh.shape == (0, 4)


def test_tiny_images_are_cropped_without_an_error() -> None:
    for image_id in range(30):
        dot = AnnotatedImage(
            Image.new("RGB", (2, 3)), PixelTargets(np.zeros(1, int), np.array([[0, 0, 2, 3.0]], "f4"))
        )
        image, _ = augment(dot, STRONG, DrawKey(0, 0, image_id), SIZE_HW)
        assert image.size == SIZE_WH


def uniform_on(values: list[float], low: float, high: float) -> None:
    """Check that `values` are spread evenly over [low, high], by the largest gap of the distribution functions."""
    assert low <= min(values) and max(values) <= high
    ranked = (np.sort(values) - low) / (high - low)
    gap = np.abs(ranked - (np.arange(len(values)) + 0.5) / len(values)).max()
    assert gap < 1.95 / np.sqrt(len(values)), f"{low} to {high}: off by {gap:.3f}"  # Kolmogorov's 0.1 %


def test_canvases_are_one_to_four_times_the_image() -> None:
    sides, lefts, tops = [], [], []
    for image_id in range(2000):
        window = draw_canvas(Draws("test", image_id), (1000, 500))
        width, height = window.right - window.left, window.bottom - window.top
        assert window.left <= 0 and window.top <= 0 and window.right >= 1000 and window.bottom >= 500
        assert abs(width - 2 * height) <= 2, "the aspect is kept"
        sides.append(width / 1000)
        if width > 1500:  # else whole pixels are too coarse
            lefts.append(-window.left / (width - 1000))
            tops.append(-window.top / (height - 500))
    uniform_on(sides, 1, 4)
    uniform_on(lefts, 0, 1)
    uniform_on(tops, 0, 1)


class RecordedDraws(Draws):
    """Draws that keep the options drawn."""

    def __init__(self, *key: int) -> None:
        super().__init__("test", *key)
        self.options: list[int] = []

    def index(self, count: int) -> int:
        assert count == 7
        self.options.append(super().index(count))
        return self.options[-1]


def test_crops_are_those_of_the_official_options() -> None:
    first, whole, widths, heights = Counter(), 0, [], []
    by_the_best_alone = 0  # crops that only one of two boxes overlaps enough
    boxes_xyxy_N4 = np.array([[100, 50, 900, 450], [0, 0, 60, 60]], dtype=np.float32)
    for image_id in range(2100):
        draws = RecordedDraws(image_id)
        window = iou_crop.draw_window(draws, (1000, 500), boxes_xyxy_N4)
        first[draws.options[0]] += 1
        least = (0, 0.1, 0.3, 0.5, 0.7, 0.9, 1)[draws.options[-1]]
        if window is None:
            assert least == 1
            whole += 1
            continue
        width, height = window.right - window.left, window.bottom - window.top
        assert window.left >= 0 and window.right <= 1000 and window.top >= 0 and window.bottom <= 500
        assert width >= 300 and height >= 150 and 0.5 <= width / height <= 2
        centred = [each for each in boxes_xyxy_N4.tolist() if is_centred(each, window)]
        assert max(iou(each, window) for each in centred) >= least
        by_the_best_alone += min(iou(each, window) for each in centred) < least
        widths.append(width)
        heights.append(height)
    assert all(abs(first[option] - 300) < 4 * np.sqrt(300) for option in range(7)), first
    assert by_the_best_alone > 20
    assert 2100 / 7 < whole < 2100 / 2, "the option 1 and the failures of others"
    assert min(widths) < 350 and max(widths) > 950 and min(heights) < 200 and max(heights) > 480


def is_centred(box_xyxy: list[float], window: Window) -> bool:
    x, y = (box_xyxy[0] + box_xyxy[2]) / 2, (box_xyxy[1] + box_xyxy[3]) / 2
    return window.left < x < window.right and window.top < y < window.bottom


def iou(box_xyxy: list[float], window: Window) -> float:
    width = min(box_xyxy[2], window.right) - max(box_xyxy[0], window.left)
    height = min(box_xyxy[3], window.bottom) - max(box_xyxy[1], window.top)
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (box_xyxy, window)]
    return width * height / (sum(areas) - width * height)


def test_a_crop_keeps_the_boxes_whose_centres_it_has() -> None:
    window = Window(20, 10, 70, 40)  # the centres are (22, 17), (72, 11) and (66, 46)
    result = iou_crop.iou_crop(scene(), window)
    assert result.image.size == (50, 30) and result.targets.labels.tolist() == [0]
    np.testing.assert_array_equal(result.targets.boxes_xyxy, [[0, 0, 20, 20]])
    np.testing.assert_array_equal(np.asarray(result.image), np.asarray(scene().image)[10:40, 20:70])
    on_the_border = iou_crop.centres_inside(BOXES_XYXY, Window(22, 0, 96, 64))
    assert on_the_border.tolist() == [False, True, True]


def test_rates_of_the_changes() -> None:
    """By what differs from the image without that change, 400 draws each."""
    count = {"zoom_out": 0, "iou_crop": 0, "horizontal_flip": 0}
    plain = scene().image.resize((12, 8), Image.Resampling.BILINEAR).tobytes()
    for name in count:
        spec = replace(NOTHING, **{name: {"zoom_out": 0.5, "iou_crop": 0.8, "horizontal_flip": 0.5}[name]})
        for image_id in range(400):
            image, _ = augment(scene(), spec, DrawKey(0, 0, image_id), (8, 12))
            count[name] += image.tobytes() != plain
    assert 160 < count["zoom_out"] < 240 and 160 < count["horizontal_flip"] < 240
    # 1 of 7 options leaves the image whole, and others fail until that one is drawn
    assert 160 < count["iou_crop"] < 280


def test_boxes_at_the_border_stay_there() -> None:
    """In float32, 612 * (640 / 612) is above 640."""
    targets = PixelTargets(np.zeros(1, int), np.array([[300, 0, 612, 40]], dtype=np.float32))
    wide = AnnotatedImage(Image.new("RGB", (612, 40)), targets)
    assert np.float32(612) * np.float32(640 / 612) > 640, "the width no longer makes the difference"
    _, found = augment(wide, replace(NOTHING, min_box_size=1), DrawKey(0, 0, 1), (64, 640))
    assert found.labels.tolist() == [0]
