"""Image files to RGB to float arrays, with Pillow as in the official pipeline.

Shapes: H, W image height and width.
"""

import logging
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from frameworks.errors import UserError, said
from frameworks.files import require_file

logging.getLogger("PIL").setLevel(logging.CRITICAL)  # readers log what they also raise
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # EXIF: values that exchange width and height
_PREMULTIPLIED = {"RGBa": "RGBA", "La": "LA"}


def load_image(path: Path, expected_size_wh: tuple[int, int] | None = None) -> Image.Image:
    """Decode a file completely and return it as an 8-bit RGB image.

    Without `expected_size_wh` (any photo) the picture is turned upright by its EXIF orientation.
    With it (an annotated image, size in pixels from the annotations) the pixels are taken in the frame whose size
    agrees: COCO was annotated in the frame of the stored pixels, where the official loader also reads them, while
    other tools annotate what a viewer shows. Stored wins where both agree (a square, or a turn by 180 degrees).

    Raises UserError for a missing, truncated or non-image file, and where neither frame has the expected size.
    """
    require_file(path)
    try:
        # decoded by the conversion below: only there a truncated file shows
        with warnings.catch_warnings(action="ignore"), Image.open(path) as opened:
            if opened.size == expected_size_wh:
                return _to_rgb(opened, path)
            if expected_size_wh and sorted(opened.size) != sorted(expected_size_wh):  # not even turned
                # the method of all formats: that of PNG decodes the image
                turned = Image.Image.getexif(opened).get(_ORIENTATION) in _TURNED
                width, height = opened.size
                raise _another(path, (height, width) if turned else (width, height), expected_size_wh)
            upright = _to_rgb(ImageOps.exif_transpose(opened), path)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such image file; fetch it or correct the path") from None
    except UnidentifiedImageError:
        raise UserError(f"{path}: not an image that Pillow can read; replace or remove the file") from None
    except Exception as error:  # Pillow's readers let all kinds out of broken files; too many pixels are among them
        raise UserError(f"{path}: broken image file ({said(error)}); fetch it again or remove it") from None
    if expected_size_wh not in (None, upright.size):
        raise _another(path, upright.size, expected_size_wh)
    return upright


def _another(path: Path, size_wh: tuple[int, int], expected_wh: tuple[int, int]) -> UserError:
    return UserError(
        f"{path}: image is {size_wh[0]}x{size_wh[1]} (width x height), the annotations say "
        f"{expected_wh[0]}x{expected_wh[1]}; the file or its annotation is another version"
    )


def _to_rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode.startswith("I;16"):  # convert("RGB") would clip 16-bit greys to white instead of scaling them
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise UserError(
            f"{path}: {image.mode!r} pixels (32 bits a channel) have no agreed range; save it as 8 bits"
        )
    if image.mode == "LAB":
        raise UserError(f"{path}: 'LAB' pixels; save it as RGB")
    if image.mode in _PREMULTIPLIED:
        image = image.convert(_PREMULTIPLIED[image.mode])
    return image.convert("RGB")


def to_chw(image: Image.Image | np.ndarray, out_3HW: np.ndarray | None = None) -> np.ndarray:
    """RGB image, or its pixels [H, W, 3] uint8 -> float32 [3, H, W] in [0, 1], written to `out_3HW` if it is given.

    No mean or deviation is taken off: RT-DETR is trained without.
    """
    pixels_3HW = np.asarray(image).transpose(2, 0, 1)
    out_3HW = np.empty(pixels_3HW.shape, dtype=np.float32) if out_3HW is None else out_3HW
    return np.divide(pixels_3HW, np.float32(255), out=out_3HW, dtype=np.float32)


def resize_bilinear(image: Image.Image, size_hw: tuple[int, int]) -> Image.Image:
    """Resize to (height, width) in pixels, ignoring the aspect ratio as the official configurations do. Pillow's
    BILINEAR widens its filter when it shrinks, which is what other libraries call antialiased."""
    height, width = size_hw
    return image.resize((width, height), Image.Resampling.BILINEAR)
