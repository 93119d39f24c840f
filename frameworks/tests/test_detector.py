"""``frameworks.load_model``: detections of an image file in each framework, from NumPy arrays or a file."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import frameworks
from frameworks.arrays import Arrays, save_arrays
from frameworks.config import ExperimentSpec, preset, to_dict
from frameworks.errors import UserError
from frameworks.state.constants import constant_shapes
from frameworks.state.initialisation import initial_weights
from frameworks.state.named_shapes import COUNTER

SPEC = preset("tiny")


V2 = replace(SPEC, model=replace(SPEC.model, version="v2"))


def official_state(spec: ExperimentSpec) -> Arrays:
    """A state with the computed entries of official RT-DETRv2 files, and without the counters of norms."""
    constants = constant_shapes(spec.model, spec.data.image_size)
    assert constants
    weights = initial_weights(spec.model, seed=0)
    kept = {name: array for name, array in weights.items() if not name.endswith(COUNTER)}
    return kept | {name: np.full(shape, np.inf) for name, shape in constants.items()}


@pytest.fixture(scope="module")
def weights() -> Arrays:
    return initial_weights(SPEC.model, seed=0)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise, 40 px wide and 100 px high once it is turned upright."""
    path = tmp_path_factory.mktemp("照片") / "侧.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (40, 100, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def test_both_frameworks_detect_the_same_on_an_image_file(weights: Arrays, photo: Path, tmp_path: Path) -> None:
    file = tmp_path / "权重.safetensors"
    state = {f"ema/{name}": array for name, array in weights.items()}
    save_arrays(file, state, {"spec": json.dumps(to_dict(SPEC))})
    with frameworks.load_model("tiny", weights) as model:
        reference = model.detect(photo)
    with frameworks.load_model(None, file, framework="jittor") as model:
        found = model.detect(str(photo))
        best = model.detect(photo, threshold=float(found.scores_N[4]))
    queries = SPEC.model.decoder.num_queries
    assert found.boxes_xyxy_N4.shape == (queries, 4) and found.labels_N.dtype == np.int64
    np.testing.assert_allclose(found.scores_N, reference.scores_N, atol=1e-4)
    np.testing.assert_allclose(found.boxes_xyxy_N4[:5], reference.boxes_xyxy_N4[:5], atol=0.05)
    assert len(best.scores_N) == 5 and (np.diff(found.scores_N) <= 0).all()
    centres_N2 = found.boxes_xyxy_N4.reshape(-1, 2, 2).mean(1)
    assert 40 < centres_N2[:, 1].max() < 100 and centres_N2[:, 0].max() < 40, "pixels of the upright image"
    np.testing.assert_array_equal(found.boxes_xywh()[:, 2], np.diff(found.boxes_xyxy_N4[:, ::2])[:, 0])


def test_pixels_and_a_file_of_them_are_the_same_image(tmp_path: Path) -> None:
    pixels_HW3 = np.random.default_rng(1).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels_HW3).save(tmp_path / "a.png")
    model = frameworks.load_model(V2, official_state(V2))
    np.testing.assert_array_equal(
        model.detect(pixels_HW3).boxes_xyxy_N4, model.detect(tmp_path / "a.png").boxes_xyxy_N4
    )
    for wrong in (pixels_HW3[..., 0], pixels_HW3 / np.float32(255), pixels_HW3[:0]):
        with pytest.raises(UserError, match="expected RGB pixels"):
            model.detect(wrong)
    model.close()
    model.close()


def test_weights_of_another_model_are_refused_in_one_line(weights: Arrays, tmp_path: Path) -> None:
    name = next(iter(weights))
    for wrong, what in (
        ({key: array for key, array in weights.items() if key != name}, "nothing for"),
        (weights | {name: weights[name][:1]}, "shape "),
        (weights | {name: weights[name] * np.nan}, "NaN"),
        (weights | {"decoder.more": weights[name]}, "decoder.more"),
    ):
        with pytest.raises(UserError, match=what):
            frameworks.load_model("tiny", wrong)
    small = replace(SPEC, data=replace(SPEC.data, image_size=(32, 64)))
    save_arrays(tmp_path / "small.safetensors", weights, {"spec": json.dumps(to_dict(small))})
    with pytest.raises(UserError, match="trained on images of 32x64 px"):
        frameworks.load_model("tiny", tmp_path / "small.safetensors")
    with pytest.raises(UserError, match="name a preset"):
        frameworks.load_model(None, weights)
    (tmp_path / "a.pth").write_bytes(b"no safetensors")
    for path, what in ((tmp_path / "a.pth", "weights.py convert"), (tmp_path / "absent", "no such file")):
        with pytest.raises(UserError, match=what):
            frameworks.load_model("tiny", path)
    with pytest.raises(UserError, match="unknown framework 'caffe'"):
        frameworks.load_model("tiny", weights, framework="caffe")
