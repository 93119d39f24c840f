"""ONNX file of a model for inference: deploy form, post-processing in, for any number of images of one size.

The weights are NumPy arrays, so that a model trained by any framework can be exported.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec
from frameworks.errors import UserError
from frameworks.shared import kernels
from frameworks.torch_rtdetr import decoder, encoder
from frameworks.torch_rtdetr.deploy import deploy
from frameworks.torch_rtdetr.exchange import build, set_training
from frameworks.torch_rtdetr.postprocess import postprocess

INPUTS = ("images", "sizes_wh")
DETECTIONS = ("labels", "boxes", "scores")
PREDICTIONS = ("logits", "boxes_cxcywh", "topk")


class Detector(nn.Module):
    """A model in deploy form with its post-processing."""

    def __init__(self, spec: ExperimentSpec, weights: Arrays, dtype: torch.dtype, predictions: bool) -> None:
        super().__init__()
        self.spec, self.predictions = spec, predictions
        self.model = build(spec.model, weights, "cpu", dtype)
        set_training(self.model, False)
        deploy(self.model)
        self.eval().requires_grad_(False)

    def forward(self, images_B3HW: Tensor, sizes_wh_B2: Tensor) -> tuple[Tensor, ...]:
        """Labels [B, Q], boxes [B, Q, 4] xyxy in pixels of ``sizes_wh_B2``, scores [B, Q]; ``PREDICTIONS``."""
        outputs = self.model(images_B3HW)
        last, queries = outputs.layers[-1], self.spec.model.decoder.num_queries
        focal = self.spec.criterion.matcher.use_focal_loss
        found = postprocess(last, sizes_wh_B2, queries, use_focal_loss=focal)
        raw = (last.logits, last.boxes_cxcywh, outputs.topk_BQ) if self.predictions else ()
        return (*found, *raw)


def export_onnx(
    spec: ExperimentSpec,
    weights: Arrays,
    path: Path,
    *,
    image_size: tuple[int, int],
    dtype: torch.dtype = torch.float32,
    predictions: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a model with inputs ``INPUTS`` and outputs ``DETECTIONS``: ``images`` [B, 3, H, W] in [0, 1], B free.

    Args:
        weights: the whole state by canonical name.
        image_size: height and width, fixed in the file.
        dtype: of weights, images and sizes; ONNX Runtime has no convolution in float64 on a CPU.
        predictions: also the outputs ``PREDICTIONS``: logits [B, Q, K], boxes cxcywh in [0, 1], selected tokens.
        metadata: what the file says about itself, as ONNX Runtime's ``custom_metadata_map`` shows it.

    Raises:
        UserError: the packages for the export are not installed.
        ValueError: names or shapes of the weights are not exactly the model's.
    """
    try:
        import onnxscript  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        raise UserError("the export to ONNX needs more packages: pip install 'twin-detr[onnx]'") from None
    detector = Detector(spec, weights, dtype, predictions)
    images, sizes = torch.zeros(2, 3, *image_size, dtype=dtype), torch.ones(2, 2, dtype=dtype)
    _forget_constants()
    try:
        with _quiet(), kernels.chosen("reference"):  # C++ operators are unknown to ONNX
            _export(detector, (images, sizes), path, metadata or {})
    finally:
        _forget_constants()


def _export(detector: Detector, inputs: tuple[Tensor, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    batch = torch.export.Dim("batch", min=1, max=2**16)
    program = torch.onnx.export(
        detector,
        inputs,
        input_names=INPUTS,
        output_names=DETECTIONS + PREDICTIONS * detector.predictions,
        dynamic_shapes=({0: batch}, {0: batch}),
        dynamo=True,
        verbose=False,
    )
    assert program is not None  # it is where no path is given
    program.model.metadata_props.update(metadata)
    program.save(path, external_data=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what parts of the exporter say about one another."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _forget_constants() -> None:
    """Empty the caches of anchors and position embeddings: an export leaves tensors without data there."""
    decoder._make_anchors.cache_clear()
    encoder._position_embedding.cache_clear()
