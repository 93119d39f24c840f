"""A trained model that detects on images, in either framework; ``frameworks.load_model`` opens one.

Shapes: H, W height and width of an image in pixels; N detections of one image.
"""

import contextlib
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from frameworks.arrays import Arrays, load_arrays
from frameworks.config import ExperimentSpec, load_spec
from frameworks.config.recorded import read_spec
from frameworks.errors import UserError
from frameworks.files import user_path
from frameworks.images import load_image, resize_bilinear, to_chw
from frameworks.protocol import Framework
from frameworks.shared.trace_names import below
from frameworks.state.constants import constant_shapes
from frameworks.state.named_shapes import COUNTER
from frameworks.state.parameters import model_facts
from frameworks.workers.client import open_framework

Weights = str | Path | Mapping[str, np.ndarray]
CONVERT = "python experiments/weights.py convert FILE OUT.safetensors"


@dataclass(frozen=True)
class Found:
    """Detections of one image, best first, as NumPy arrays.

    ``labels_N`` int64 are the model's classes 0..K-1; ``scores_N`` float32 are in [0, 1]; ``boxes_xyxy_N4`` float32
    are left, top, right and bottom in pixels of the upright image, from its upper left corner. Boxes are not
    clipped to the image, as in the evaluation.
    """

    labels_N: np.ndarray
    scores_N: np.ndarray
    boxes_xyxy_N4: np.ndarray

    def boxes_xywh(self) -> np.ndarray:
        """The boxes in COCO's form, [N, 4]: left, top, width, height."""
        corner_N2, end_N2 = self.boxes_xyxy_N4[:, :2], self.boxes_xyxy_N4[:, 2:]
        return np.concatenate([corner_N2, end_N2 - corner_N2], axis=1)

    def above(self, threshold: float) -> "Found":
        """The detections whose score is ``threshold`` or more."""
        kept_N = self.scores_N >= threshold
        return Found(self.labels_N[kept_N], self.scores_N[kept_N], self.boxes_xyxy_N4[kept_N])


class Detector:
    """A model of a framework, ready to detect.

    Args:
        framework: what ``open_framework`` gives, or a framework in this process.
        spec: the model and ``data.image_size``, the (height, width) to which images are resized.
        weights: the whole state by canonical name.
        device: "cpu" or "cuda", that of the framework.
    """

    def __init__(self, framework: Framework, spec: ExperimentSpec, weights: Arrays, device: str = "cpu") -> None:
        self.spec = spec
        in_float32 = replace(spec, recipe=replace(spec.recipe, amp=False))  # mixed precision is for training
        self._stepper = framework.trainer(in_float32, weights, device=device)

    def detect(self, image: Path | str | np.ndarray | Image.Image, threshold: float = 0.0) -> Found:
        """Detect on one image.

        Args:
            image: a file, which is turned upright by its EXIF orientation; or RGB pixels, uint8 [H, W, 3].
            threshold: the lowest score. Without one, as many detections as the model has queries.

        Raises:
            UserError: the file cannot be read, or the array is no such image.
            WorkerFailure: the framework's process died.
        """
        picture = _picture(image)
        pixels_13HW = to_chw(resize_bilinear(picture, self.spec.data.image_size))[None]
        sizes_wh_12 = np.array([picture.size], np.int64)
        arrays = self._stepper.predict({"images": pixels_13HW, "sizes_wh": sizes_wh_12}).arrays
        found = Found(*(arrays[name][0].copy() for name in ("labels", "scores", "boxes")))
        return found.above(threshold)


class OpenDetector(Detector):
    """A detector with a process of its own, which ends with ``close``, a ``with`` block, or the detector itself.

    Arguments and errors: ``frameworks.load_model``.
    """

    def __init__(
        self, spec: str | Path | ExperimentSpec | None, weights: Weights, framework: str, device: str = "cpu"
    ) -> None:
        model = spec if isinstance(spec, ExperimentSpec) else _spec_of(spec, weights)
        state = _whole_state(weights, model)
        stack = contextlib.ExitStack()
        self.close = weakref.finalize(self, stack.close)
        try:
            super().__init__(stack.enter_context(open_framework(framework, device=device)), model, state, device)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "OpenDetector":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _spec_of(name: str | Path | None, weights: Weights) -> ExperimentSpec:
    """The spec of a name, or without one that of a checkpoint. Raises UserError where both say another size."""
    path = None if isinstance(weights, Mapping) else user_path(weights)
    recorded = read_spec(path) if path else None
    if name is None:
        if recorded is None:
            raise UserError(f"{path or 'the weights'}: carries no spec; name a preset or a YAML file")
        return recorded
    spec = load_spec(str(name))
    if recorded and recorded.data.image_size != spec.data.image_size:  # it would find nothing, without a word
        trained, said = ("x".join(map(str, each.data.image_size)) for each in (recorded, spec))
        raise UserError(
            f"{path}: was trained on images of {trained} px, {name} says {said}; give None for the spec of the "
            "checkpoint, or a spec with the size that you want"
        )
    return spec


def _whole_state(weights: Weights, spec: ExperimentSpec) -> Arrays:
    """The arrays that the model has, floats as float32. Raises UserError for weights of another model."""
    where = "the weights" if isinstance(weights, Mapping) else str(weights)
    given = dict(weights) if isinstance(weights, Mapping) else _read(user_path(weights))
    given = below("parameter", given) | below("ema", given) or given  # counters have no average
    shapes, state = model_facts(spec.model).shapes, {}
    for name, shape in shapes.items():
        array = given.get(name, np.zeros(shape, np.int64) if name.endswith(COUNTER) else None)
        if array is None or array.shape != shape:
            found = "nothing" if array is None else f"shape {list(array.shape)}"
            raise _another(where, f"{found} for {name}, which is {list(shape)} in {spec.name}")
        state[name] = array.astype(np.float32) if array.dtype.kind == "f" else array
        if not np.isfinite(state[name]).all():
            raise UserError(f"{where}: {name} has NaN or infinite numbers; no model detects with them")
    known = shapes.keys() | constant_shapes(spec.model, spec.data.image_size).keys()
    if others := [name for name in given if name not in known and not name.endswith(COUNTER)]:
        raise _another(where, f"{len(others)} tensors that {spec.name} has not, first {others[0]}")
    return state


def _read(path: Path) -> Arrays:
    try:
        return load_arrays(path)
    except UserError as error:
        raise UserError(f"{error}; other formats: {CONVERT}" if path.is_file() else str(error)) from None


def _another(where: str, what: str) -> UserError:
    return UserError(
        f"{where}: {what}; name the model of the file (python experiments/weights.py inspect FILE), or convert "
        f"names that are not the official ones ({CONVERT})"
    )


def _picture(image: Path | str | np.ndarray | Image.Image) -> Image.Image:
    """The image as Pillow has it. Raises UserError where it is none."""
    if isinstance(image, Image.Image):
        return image if image.mode == "RGB" else image.convert("RGB")
    if isinstance(image, (str, Path)):
        return load_image(user_path(image))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UserError(f"the image is {image.dtype} {list(image.shape)}; expected RGB pixels, uint8 [H, W, 3]")
    return Image.fromarray(image)
