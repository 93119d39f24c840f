"""Zoom-out: the image somewhere on a larger black canvas, as torchvision's `RandomZoomOut` with its defaults."""

from experiments.data.augmentation.annotated_image import Window
from experiments.data.keyed_random import Draws

SIDES = (1.0, 4.0)  # side of the canvas over the side of the image


def draw_canvas(draws: Draws, size_wh: tuple[int, int]) -> Window:
    """The canvas of an image of `size_wh` pixels, in pixels of the image: it reaches beyond all of its sides."""
    width, height = size_wh
    side = draws.uniform(*SIDES)
    canvas_width, canvas_height = int(width * side), int(height * side)
    left = int((canvas_width - width) * draws.uniform())
    top = int((canvas_height - height) * draws.uniform())
    return Window(-left, -top, canvas_width - left, canvas_height - top)
