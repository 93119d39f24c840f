"""Decoding, resizing, flipping, and the targets that go with an image."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from experiments.data.categories import COCO
from experiments.data.coco import Annotation
from experiments.data.images import flip_horizontal, load_annotated
from experiments.data.targets import build_targets, normalised
from experiments.tests.data_sets import real_coco, user_error
from frameworks.images import load_image, resize_bilinear, to_chw

MODES = ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "RGBX")
RED, BLUE = (255, 0, 0), (0, 0, 255)


def photo(path: Path, orientation: int, size_wh: tuple[int, int] = (48, 32)) -> Path:
    """A JPEG with a red left half as stored, and an EXIF orientation."""
    image = Image.new("RGB", size_wh, BLUE)
    image.paste(RED, (0, 0, size_wh[0] // 2, size_wh[1]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif, quality=95)
    return path


def is_red(image: Image.Image, xy: tuple[int, int]) -> bool:
    pixel = image.getpixel(xy)
    assert isinstance(pixel, tuple)
    return pixel[0] > 128 > pixel[2]


def test_a_photo_on_its_own_is_turned_upright(tmp_path: Path) -> None:
    image = load_image(photo(tmp_path / "a.jpg", 6))  # 6: the stored picture is to be turned clockwise
    assert image.size == (32, 48)
    assert is_red(image, (16, 4)) and not is_red(image, (16, 44))


def test_annotated_photos_are_read_in_the_frame_of_the_annotations(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", 6)
    stored = load_image(path, (48, 32))
    assert stored.size == (48, 32) and is_red(stored, (4, 16))
    upright = load_image(path, (32, 48))
    assert upright.size == (32, 48) and is_red(upright, (16, 4))
    user_error(lambda: load_image(path, (32, 47)), path, "32x48", "32x47")


@pytest.mark.parametrize(("orientation", "size_wh"), [(3, (48, 32)), (2, (48, 32)), (6, (40, 40))])
def test_where_both_frames_agree_the_stored_one_wins(
    tmp_path: Path, orientation: int, size_wh: tuple[int, int]
) -> None:
    path = photo(tmp_path / "a.jpg", orientation, size_wh)
    assert is_red(load_image(path, size_wh), (4, 16))
    assert not is_red(load_image(path), (4, 30))


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGBA", "LA", "YCbCr"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode in ("CMYK", "YCbCr") else "a.png")
    Image.new("RGB", (5, 4), (255, 255, 255)).convert(mode).save(path)
    image = load_image(path)
    assert image.mode == "RGB" and image.size == (5, 4)
    assert np.asarray(image).min() >= 250


@pytest.mark.parametrize("mode", [*MODES, "La", "RGBa", "I;16", "I;16B"])
def test_every_mode_of_pillow_is_rgb_or_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """As if a file of that mode had been opened: not every mode has a format that keeps it."""
    (tmp_path / "a.png").write_bytes(b"")
    monkeypatch.setattr(Image, "open", lambda _: Image.new(mode, (5, 4)))
    if mode in ("I", "F", "LAB"):
        user_error(lambda: load_image(tmp_path / "a.png"), tmp_path / "a.png", f"{mode!r} pixels")
    else:
        image = load_image(tmp_path / "a.png", (5, 4))
        assert (image.mode, image.size) == ("RGB", (5, 4))


def test_too_many_pixels_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (400, 300)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400 * 300 // 2 - 1)
    user_error(lambda: load_image(tmp_path / "a.png"), tmp_path / "a.png", "broken image", "pixels")
    monkeypatch.undo()
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))
    user_error(lambda: load_image(tmp_path / "a.png", (400, 301)), tmp_path / "a.png", "400x300", "400x301")


@pytest.mark.parametrize("error", [IndexError("a\nb"), MemoryError(), OverflowError(), AttributeError("y" * 9999)])
def test_whatever_a_reader_of_images_raises_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(_: object) -> None:
        raise error

    monkeypatch.setattr(Image, "open", fails)
    assert len(user_error(lambda: load_image(tmp_path / "a.png"), tmp_path / "a.png", "broken image")) < 500


def test_what_pillow_only_warns_about_is_no_error(tmp_path: Path) -> None:
    Image.new("RGB", (3, 3), (10, 200, 30)).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01")
    with Image.open(tmp_path / "a.png") as image, pytest.warns(UserWarning, match="Corrupt EXIF"):
        image.getexif()
    assert load_image(tmp_path / "a.png").getpixel((1, 1)) == (10, 200, 30)


def test_palettes_with_a_table_of_transparency_make_no_warning(tmp_path: Path) -> None:
    image = Image.new("P", (3, 3), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.save(tmp_path / "a.png", transparency=bytes([0, 128]))
    assert load_image(tmp_path / "a.png").getpixel((1, 1)) == (10, 200, 30)


def test_sixteen_bit_greys_are_scaled_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 0x7FFF], [0x8000, 0xFFFF]], dtype=np.uint16)).save(tmp_path / "a.png")
    assert np.asarray(load_image(tmp_path / "a.png"))[..., 0].tolist() == [[0, 127], [128, 255]]
    Image.new("F", (3, 3)).save(tmp_path / "a.tif")
    user_error(lambda: load_image(tmp_path / "a.tif"), tmp_path / "a.tif", "32 bits")


def test_files_that_are_no_whole_image(tmp_path: Path) -> None:
    user_error(lambda: load_image(tmp_path / "absent.jpg"), tmp_path / "absent.jpg", "no such image")
    (tmp_path / "text.jpg").write_text("hello")
    user_error(lambda: load_image(tmp_path / "text.jpg"), tmp_path / "text.jpg", "not an image")
    user_error(lambda: load_image(tmp_path), tmp_path)
    for name in ("cut.jpg", "cut.png"):
        Image.effect_noise((64, 64), 50).convert("RGB").save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        user_error(lambda name=name: load_image(tmp_path / name), tmp_path / name, "broken image")


def test_pixels_are_scaled_and_nothing_else(tmp_path: Path) -> None:
    pixels_HW3 = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    array_3HW = to_chw(Image.fromarray(pixels_HW3))
    assert array_3HW.dtype == np.float32 and array_3HW.shape == (3, 4, 6) and array_3HW.flags.c_contiguous
    for channel in range(3):
        np.testing.assert_array_equal(array_3HW[channel], (pixels_HW3[..., channel] / 255).astype(np.float32))


def test_shrinking_averages_over_a_triangle() -> None:
    """To half the size, Pillow's antialiased triangle has the weights 1, 3, 3, 1 (over 8) away from the border."""
    row = np.arange(16, dtype=np.uint8) ** 2
    image = Image.fromarray(np.broadcast_to(row[None, :, None], (8, 16, 3)).copy())
    shrunk = resize_bilinear(image, (4, 8))
    assert shrunk.size == (8, 4)
    wide = row.astype(float)
    expected = [
        (wide[2 * i - 1] + 3 * wide[2 * i] + 3 * wide[2 * i + 1] + wide[2 * i + 2]) / 8 for i in range(1, 7)
    ]
    np.testing.assert_allclose(np.asarray(shrunk)[1, 1:7, 0], expected, atol=0.51)


def test_a_flip_moves_pixels_and_boxes_together() -> None:
    image = Image.new("RGB", (10, 4))
    image.paste(RED, (1, 0, 4, 2))
    boxes_cxcywh_N4 = np.array([[0.25, 0.25, 0.3, 0.5]], dtype=np.float32)
    flipped, flipped_cxcywh_N4 = flip_horizontal(image, boxes_cxcywh_N4)
    assert flipped.getbbox() == (6, 0, 9, 2)
    np.testing.assert_allclose(flipped_cxcywh_N4, [[0.75, 0.25, 0.3, 0.5]], atol=1e-7)
    assert flipped_cxcywh_N4.dtype == np.float32 and boxes_cxcywh_N4[0, 0] == 0.25


def annotate(bbox_xywh: tuple[float, float, float, float], category: int = 1, crowd: bool = False) -> Annotation:
    return Annotation(1, 1, category, bbox_xywh, 1.0, crowd)


def interval(start: float, length: float, limit: int) -> tuple[float, float] | None:
    """One axis of a target in float64, by intersection of intervals: (centre, length) over `limit`, or None."""
    low, high = max(0.0, start), min(float(limit), start + length)
    low, high = min(low, limit), max(high, 0.0)
    return ((low + high) / 2 / limit, (high - low) / limit) if high > low else None


coordinate = st.integers(-4000, 8000).map(lambda value: value / 8)  # eighths: exact in float32, so is the order


@settings(derandomize=True, deadline=None)
@given(
    st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate, st.booleans()), max_size=6),
    st.integers(1, 700),
    st.integers(1, 700),
)
def test_targets_are_the_boxes_cut_to_the_image(
    rows: list[tuple[float, float, float, float, bool]], width: int, height: int
) -> None:
    expected = []
    for x, y, w, h, crowd in rows:
        across, down = interval(x, w, width), interval(y, h, height)
        if across and down and not crowd:
            expected.append((across[0], down[0], across[1], down[1]))
    annotations = [annotate((x, y, w, h), crowd=crowd) for x, y, w, h, crowd in rows]
    targets = normalised(build_targets(annotations, (width, height), COCO), (width, height))
    assert targets.boxes_cxcywh.dtype == np.float32 and targets.labels.dtype == np.int64
    assert targets.boxes_cxcywh.shape == (len(expected), 4) and targets.labels.shape == (len(expected),)
    np.testing.assert_allclose(targets.boxes_cxcywh, np.array(expected).reshape(-1, 4), atol=1e-6)


def test_labels_stay_with_their_boxes() -> None:
    rows = [annotate((0, 0, 0, 9), 3), annotate((0, 0, 5, 5), 90), annotate((1, 1, 5, 5), 2, crowd=True)]
    targets = normalised(build_targets([*rows, annotate((5, 5, 5, 5), 13)], (10, 10), COCO), (10, 10))
    assert targets.labels.tolist() == [79, 11]
    np.testing.assert_allclose(targets.boxes_cxcywh, [[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]])
    user_error(lambda: build_targets([annotate((0, 0, 5, 5), 12)], (10, 10), COCO), "category id 12")


def test_every_real_image_decodes_in_its_frame() -> None:
    split = real_coco("val")
    for image_id in list(split.images)[:20]:
        record = split.images[image_id]
        assert load_annotated(split, image_id).size == (record.width, record.height)
