"""The exported ONNX graph against both twins: a program that no framework of this project runs.

In float64 ONNX's own reference evaluator, which is NumPy, computes the graph; in float32 ONNX Runtime, which has no
convolution in float64.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import frameworks
from frameworks.arrays import Arrays
from frameworks.judge.compare import compare
from frameworks.protocol import Case
from frameworks.shared.tolerances import ONNX
from frameworks.torch_rtdetr.onnx_export import DETECTIONS, PREDICTIONS, export_onnx
from parity_tests.agreement import DTYPES
from parity_tests.cases.subjects import Subject, in_zoo, subject
from parity_tests.traces import Traces

NAMES = {name: f"postprocess/{name}" for name in DETECTIONS} | {
    "logits": "forward/pred_logits",
    "boxes_cxcywh": "forward/pred_boxes",
    "topk": "select/topk",
}
TORCH = {"float64": torch.float64, "float32": torch.float32}
CASES = [("tiny", dtype) for dtype in DTYPES]
ZOO = [("rtdetr_r18vd", "float32"), ("tiny_v2", "float64"), ("tiny_hgnetv2", "float32")]


def exported(of: Subject, dtype: str, path: Path) -> Path:
    """The ONNX file of a subject."""
    export_onnx(of.spec, of.weights(), path, image_size=of.size_hw, dtype=TORCH[dtype], predictions=True)
    return path


def run_exported(path: Path, inputs: Arrays, dtype: str) -> Arrays:
    """The outputs of an exported graph under the names of a trace."""
    given = {name: array.astype(dtype) for name, array in inputs.items()}
    outputs = (by_reference if dtype == "float64" else by_runtime)(path, given)
    return {NAMES[name]: array for name, array in zip(DETECTIONS + PREDICTIONS, outputs, strict=True)}


def by_runtime(path: Path, given: Arrays) -> Any:
    """The outputs by ONNX Runtime."""
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, given)


def by_reference(path: Path, given: Arrays) -> Any:
    """The outputs by ONNX's reference evaluator, whose own GatherElements ends at 32 indices along an axis."""
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.op_run import OpRun

    class GatherElements(OpRun):
        op_domain = ""

        def _run(self, data: np.ndarray, indices: np.ndarray, axis: int) -> Any:
            return (np.take_along_axis(data, indices, axis),)

    return ReferenceEvaluator(str(path), new_ops=[GatherElements]).run(None, given)


def by_twin(of: Subject, inputs: Arrays, framework: str, traces: Traces) -> Arrays:
    """The same outputs by a twin in float64, in deploy form."""
    trace = traces.run(Case("forward", of.spec, deploy=True), of, inputs, framework, "float64", "cpu")
    predictions = {f"prediction/{name}": trace[f"forward/{name}"] for name in ("pred_logits", "pred_boxes")}
    case = Case("postprocess", of.spec)
    found = traces.run(case, of, predictions | {"sizes_wh": inputs["sizes_wh"]}, framework, "float64", "cpu")
    return {name: array for name, array in (trace | found).items() if name in NAMES.values()}


@pytest.mark.parametrize(("name", "dtype"), [*CASES, *(in_zoo(*case) for case in ZOO)])
def test_both_twins_compute_the_exported_graph(name, dtype, traces: Traces, record, tmp_path):
    pytest.importorskip("onnxruntime", reason="no judge: pip install 'twin-detr[onnx]' brings onnxruntime")
    of = subject(name)
    path = exported(of, dtype, tmp_path / "model.onnx")
    images = of.images()["images"]
    for batch in (images, images[:1]):  # another number of images than it was exported with
        inputs = {"images": batch, "sizes_wh": np.array([[640, 480], [333, 500]], np.int64)[: len(batch)]}
        outputs = run_exported(path, inputs, dtype)
        setting = record(of, "exported to ONNX", dtype, "cpu")
        for framework in frameworks.ADAPTERS:
            twin = by_twin(of, inputs, framework, traces)
            found = compare(outputs, twin, lambda stage, tensor: ONNX[dtype], setting.modules)
            setting.check(found, framework, "onnx")
