"""Write a model as an ONNX file and hold what ONNX Runtime computes from it to the twins, in float64.

ONNX Runtime takes its own discrete decisions, in float32: a tie may select another token or put two detections in
the other order. So a twin computes with the tokens that were selected, whose scores have to be those of the best
ones, and each detection is compared with the prediction that it comes from.
"""

import json
from argparse import Namespace
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from experiments.weight_files.initial import in_float32
from experiments.weight_files.sources import Loaded, load_weights, open_source
from experiments.weight_files.trained import Trained, find_trained
from experiments.weight_files.writers import require_new
from frameworks import REFERENCE
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec, load_spec, spec_hash
from frameworks.errors import UserError
from frameworks.files import replacing
from frameworks.judge.compare import Comparison, compare
from frameworks.protocol import Case
from frameworks.shared import drawn_inputs
from frameworks.shared.tolerances import ONNX
from frameworks.workers.client import WorkerFailure, open_framework

BATCHES = (2, 1)  # the file is exported with two images; one image shows that their number is free
SIZES_WH = np.array([[640, 480], [333, 500]], np.int64)  # other than the image, so that a wrong scale is seen


def export(given: Namespace) -> None:
    """Write a run's, a checkpoint's or a file's weights as ONNX; a file that computes something else is not kept.

    Raises:
        UserError: as ``find_trained`` and ``load_weights``; packages are missing; the file cannot be written, or
            ONNX Runtime does not compute what the twins compute.
    """
    require_new(given.out, force=given.force)
    trained = find_trained(given.source, given.checkpoint, given.framework)
    spec = load_spec(given.preset) if given.preset else trained.spec
    loaded = load_weights(open_source(trained.source, spec, trust=given.trust, ema=not given.no_ema), spec)
    size = given.image_size or loaded.spec.data.image_size
    print(f"file               {loaded.file.path} ({loaded.file.format}, {loaded.file.form})")
    print(f"model              {loaded.spec.name}, images [N, 3, {size[0]}, {size[1]}] in [0, 1], N free")
    try:
        with replacing(given.out) as part:
            _write(part, loaded, size)
            print("\n".join(_checked(part, loaded, size, trained)), flush=True)
    except OSError as error:
        raise UserError(f"cannot write {given.out}: {error}; free some space or choose another folder") from None
    print(f"wrote              {given.out} (onnx, {given.out.stat().st_size / 2**20:.1f} MB)")


def _write(path: Path, loaded: Loaded, size: tuple[int, int]) -> None:
    # here, because importing torch takes seconds and the other commands do without it
    from frameworks.torch_rtdetr.onnx_export import export_onnx

    spec, classes = loaded.spec, list(loaded.spec.data.categories)
    facts = {"model": spec.name, "spec_hash": spec_hash(spec), "trained_weights": str(loaded.file.path.name)}
    metadata = facts | ({"class_names": json.dumps(classes, ensure_ascii=False)} if classes else {})
    weights = in_float32(loaded.weights)
    export_onnx(spec, weights, path, image_size=size, predictions=True, metadata=metadata)


def _checked(path: Path, loaded: Loaded, size: tuple[int, int], trained: Trained) -> Iterator[str]:
    """A line for each framework; raises UserError for the first tensor beyond its limit."""
    inputs = check_inputs(size)
    found = run_file(path, inputs)
    for name in dict.fromkeys([REFERENCE, trained.framework or REFERENCE]):
        compared = compare_with(name, found, loaded.spec, in_float32(loaded.weights), inputs)
        if wrong := [each for each in compared if not each.passed]:
            raise UserError(
                f"ONNX Runtime does not compute what {name} does: {wrong[0].describe('float32', 'cpu')}"
            )
        worst = max(compared, key=lambda each: each.error)
        by = f"{name}{', which trained it' if name == trained.framework else ''}"
        limit = f"limit {ONNX['float32']:g}"
        yield f"checked            against {by}: {worst.error:.1e} at most ({worst.tensor}, {limit})"


def check_inputs(size: tuple[int, int]) -> Arrays:
    """Images of every batch of BATCHES, one after the other, and the sizes that detections are scaled to."""
    images = drawn_inputs.images(sum(BATCHES), *size, "onnx")
    return {"images": images, "sizes_wh": np.resize(SIZES_WH, (sum(BATCHES), 2)).astype(np.float32)}


def run_file(path: Path, inputs: Arrays) -> Arrays:
    """ONNX Runtime's outputs by name, of each batch of BATCHES by itself, one after the other again.

    Raises:
        UserError: ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise UserError("the export to ONNX needs more packages: pip install 'twin-detr[onnx]'") from None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    ends = np.cumsum((0, *BATCHES))
    parts = [
        session.run(names, {name: array[start:end] for name, array in inputs.items()})
        for start, end in pairwise(ends)
    ]
    return {name: np.concatenate(arrays) for name, arrays in zip(names, zip(*parts, strict=True), strict=True)}


def compare_with(
    name: str, found: Arrays, spec: ExperimentSpec, weights: Arrays, inputs: Arrays
) -> list[Comparison]:
    """Compare the outputs of the file with those of a framework in float64, deploy form.

    Raises:
        UserError: the framework cannot start or cannot run these weights.
    """
    try:
        with open_framework(name) as framework:
            case, images = Case("forward", spec, deploy=True), {"images": inputs["images"]}
            free = framework.trace(case, weights, images, device="cpu", dtype="float64")
            forced = images | {"forced/topk": found["topk"]}
            truth = framework.trace(case, weights, forced, device="cpu", dtype="float64")
    except WorkerFailure as error:
        raise UserError(f"{name} cannot run these weights: {error.message}") from None
    truth = truth | {"best scores": free["select/scores"]}
    return compare_outputs(found, truth, inputs["sizes_wh"], focal=spec.criterion.matcher.use_focal_loss)


def compare_outputs(found: Arrays, truth: Arrays, sizes_wh_B2: np.ndarray, *, focal: bool) -> list[Comparison]:
    """Compare with a trace of the same tokens; its ``best scores`` [B, Q] are those of a twin's own choice."""
    boxes_cxcywh = truth["forward/pred_boxes"]
    probabilities_BQK = _probabilities(truth["forward/pred_logits"], focal=focal)
    boxes_BQ4, scores_BQ = _nearest(found, probabilities_BQK, _xyxy(boxes_cxcywh, sizes_wh_B2))
    queries = found["scores"].shape[1]
    pairs_BF = probabilities_BQK.reshape(len(boxes_cxcywh), -1) if focal else probabilities_BQK.max(-1)
    candidate = {
        "forward/pred_logits": found["logits"],
        "forward/pred_boxes": found["boxes_cxcywh"],
        "select/scores": truth["select/scores"],
        "postprocess/boxes": found["boxes"],
        "postprocess/scores": found["scores"],
        "postprocess/best_scores": -np.sort(-found["scores"].astype(np.float64)),
    }
    reference = {
        "forward/pred_logits": truth["forward/pred_logits"],
        "forward/pred_boxes": boxes_cxcywh,
        "select/scores": truth["best scores"],
        "postprocess/boxes": boxes_BQ4,
        "postprocess/scores": scores_BQ,
        "postprocess/best_scores": -np.sort(-pairs_BF)[:, :queries],
    }
    return compare(candidate, reference, lambda stage, tensor: ONNX["float32"])


def _probabilities(logits_BQK: np.ndarray, *, focal: bool) -> np.ndarray:
    """Class probabilities [B, Q, K], without the background class of a softmax."""
    if focal:
        return 1 / (1 + np.exp(-logits_BQK))
    powers = np.exp(logits_BQK - logits_BQK.max(-1, keepdims=True))
    return (powers / powers.sum(-1, keepdims=True))[..., :-1]


def _xyxy(boxes_BQ4: np.ndarray, sizes_wh_B2: np.ndarray) -> np.ndarray:
    centre, half = boxes_BQ4[..., :2], boxes_BQ4[..., 2:] / 2
    return np.concatenate([centre - half, centre + half], -1) * np.tile(sizes_wh_B2, 2)[:, None]


def _nearest(
    found: Mapping[str, np.ndarray], probabilities_BQK: np.ndarray, boxes_BQ4: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Box and score of the query that each detection comes from, the nearest one in box and score of its label."""
    boxes, scores = np.empty(found["boxes"].shape), np.empty(found["scores"].shape)
    for image, labels_N in enumerate(found["labels"]):
        scores_NQ = probabilities_BQK[image][:, labels_N].T
        apart_NQ = np.abs(found["boxes"][image][:, None] - boxes_BQ4[image]).max(-1) / boxes_BQ4[image].max()
        query_N = (apart_NQ + np.abs(found["scores"][image][:, None] - scores_NQ)).argmin(1)
        boxes[image], scores[image] = boxes_BQ4[image][query_N], scores_NQ[np.arange(len(query_N)), query_N]
    return boxes, scores
