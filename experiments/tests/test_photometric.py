"""Photometric distortion: each operation against its formula, each draw against the official ranges."""

import colorsys
import itertools
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from experiments.data.augmentation.photometric import Distortion, distort, draw_distortion, turn_hue
from experiments.data.keyed_random import Draws
from experiments.tests.test_augmentation import uniform_on

PIXELS_HW3 = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (16, 24, 3), dtype=np.uint8)
GREY_HW1 = (PIXELS_HW3 @ [0.299, 0.587, 0.114])[..., None]


def distorted(**change: object) -> np.ndarray:
    return np.asarray(distort(Image.fromarray(PIXELS_HW3), Distortion(**change))).astype(float)  # type: ignore[arg-type]


def blend(other: np.ndarray | float, factor: float) -> np.ndarray:
    return (other + factor * (PIXELS_HW3 - other)).clip(0, 255)


@pytest.mark.parametrize("factor", [0.875, 1.0, 1.125])
def test_brightness_multiplies(factor: float) -> None:
    np.testing.assert_allclose(distorted(brightness=factor), blend(0, factor), atol=1)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.5])
def test_contrast_moves_from_the_mean_grey(factor: float) -> None:
    np.testing.assert_allclose(distorted(contrast=factor), blend(GREY_HW1.mean(), factor), atol=1.5)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.5])
def test_saturation_moves_from_the_grey_of_each_pixel(factor: float) -> None:
    np.testing.assert_allclose(distorted(saturation=factor), blend(GREY_HW1, factor), atol=1.8)


@pytest.mark.parametrize("turns", [-0.05, -0.02, 0.0, 0.03, 0.05])
def test_hue_turns_the_colour_circle(turns: float) -> None:
    def turned(pixel: np.ndarray) -> tuple[float, ...]:
        hue, saturation, value = colorsys.rgb_to_hsv(*(pixel / 255))
        return colorsys.hsv_to_rgb((hue + int(turns * 255) / 255) % 1, saturation, value)

    expected_HW3 = np.apply_along_axis(turned, 2, PIXELS_HW3) * 255
    # Pillow rounds hues down to 255 steps, one step is 6 levels of a channel, and counts them modulo 256
    np.testing.assert_allclose(distorted(hue=turns), expected_HW3, atol=9)


def test_hue_goes_round() -> None:
    red = Image.new("RGB", (1, 1), (255, 0, 0))
    assert turn_hue(red, 1 / 3).getpixel((0, 0)) == (0, 255, 0)
    assert turn_hue(red, -1 / 3).getpixel((0, 0)) == (6, 0, 255)  # modulo 256: a step of 255 too far
    half = Image.new("HSV", (1, 1), (127, 255, 255)).convert("RGB")  # turns * 255, cut to a whole number
    assert turn_hue(red, 0.5).getpixel((0, 0)) == half.getpixel((0, 0))


def test_channels_are_exchanged() -> None:
    np.testing.assert_array_equal(distorted(channels=(2, 0, 1)), PIXELS_HW3[..., [2, 0, 1]])


def test_nothing_drawn_changes_nothing() -> None:
    drawn = draw_distortion(Draws("test", 0), 0)
    assert drawn == Distortion(contrast_first=drawn.contrast_first)
    np.testing.assert_array_equal(distorted(), PIXELS_HW3)


def test_the_order_of_the_operations() -> None:
    """Brightness, contrast if first, saturation, hue, contrast if last, channels: one after the other by hand."""
    for first in (True, False):
        whole = Distortion(1.1, 0.6, 1.4, 0.04, first, (1, 2, 0))
        contrast: dict[str, object] = {"contrast": 0.6}
        steps = [{"brightness": 1.1}, contrast, {"saturation": 1.4}, {"hue": 0.04}, contrast]
        steps.append({"channels": (1, 2, 0)})
        del steps[4 if first else 1]
        image = Image.fromarray(PIXELS_HW3)
        for step in steps:
            image = distort(image, Distortion(**step))  # type: ignore[arg-type]
        np.testing.assert_array_equal(np.asarray(distort(Image.fromarray(PIXELS_HW3), whole)), np.asarray(image))


def test_draws_have_the_official_ranges_and_rates() -> None:
    drawn = [draw_distortion(Draws("test", number), 0.5) for number in range(4000)]
    limits = {"brightness": (0.875, 1.125), "contrast": (0.5, 1.5), "saturation": (0.5, 1.5), "hue": (-0.05, 0.05)}
    for name, (low, high) in limits.items():
        values = [value for each in drawn if (value := getattr(each, name)) is not None]
        assert 1870 < len(values) < 2130, name
        uniform_on(values, low, high)
    assert 1870 < sum(each.contrast_first for each in drawn) < 2130
    orders = Counter(each.channels for each in drawn)
    assert 1870 < orders.pop(None) < 2130
    assert orders.keys() == set(itertools.permutations(range(3)))
    assert all(270 < count < 400 for count in orders.values()), orders
    both = sum(each.brightness is not None and each.hue is not None for each in drawn)
    assert 880 < both < 1120, "drawn one by one, not together"
