"""Photometric distortion: brightness, contrast, saturation, hue and the order of the colour channels.

Ranges and order are those of torchvision's `RandomPhotometricDistort` with its defaults, which the official
configurations use; on Pillow images torchvision calls the same operations of Pillow.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance

from experiments.data.keyed_random import Draws

BRIGHTNESS = (0.875, 1.125)
CONTRAST = (0.5, 1.5)
SATURATION = (0.5, 1.5)
HUE = (-0.05, 0.05)  # turns of the colour circle


@dataclass(frozen=True)
class Distortion:
    """What is done to one image; None: nothing. `channels[i]` is the channel that becomes channel i."""

    brightness: float | None = None
    contrast: float | None = None
    saturation: float | None = None
    hue: float | None = None
    contrast_first: bool = False  # before saturation and hue instead of after them
    channels: tuple[int, ...] | None = None


def draw_distortion(draws: Draws, probability: float) -> Distortion:
    """Draw each of the five changes with `probability`, independently of the others."""

    def factor(limits: tuple[float, float]) -> float | None:
        return draws.uniform(*limits) if draws.chance(probability) else None

    return Distortion(
        brightness=factor(BRIGHTNESS),
        contrast=factor(CONTRAST),
        saturation=factor(SATURATION),
        hue=factor(HUE),
        contrast_first=draws.chance(0.5),
        channels=tuple(draws.permutation(3)) if draws.chance(probability) else None,
    )


def distort(image: Image.Image, distortion: Distortion) -> Image.Image:
    """Apply `distortion` to an RGB image and return the result."""
    if distortion.brightness is not None:
        image = ImageEnhance.Brightness(image).enhance(distortion.brightness)
    if distortion.contrast is not None and distortion.contrast_first:
        image = ImageEnhance.Contrast(image).enhance(distortion.contrast)
    if distortion.saturation is not None:
        image = ImageEnhance.Color(image).enhance(distortion.saturation)
    if distortion.hue is not None:
        image = turn_hue(image, distortion.hue)
    if distortion.contrast is not None and not distortion.contrast_first:
        image = ImageEnhance.Contrast(image).enhance(distortion.contrast)
    if distortion.channels is not None:
        bands = image.split()
        image = Image.merge("RGB", [bands[channel] for channel in distortion.channels])
    return image


def turn_hue(image: Image.Image, turns: float) -> Image.Image:
    """Turn the hue of an RGB image by `turns` of the colour circle, in Pillow's 255 steps, rounded towards 0."""
    hue, saturation, value = image.convert("HSV").split()
    turned = Image.fromarray(np.asarray(hue) + np.uint8(int(turns * 255) % 256))
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")
