"""weights.py export: a run's weights as an ONNX file, which is kept only where ONNX Runtime computes the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.runs.checkpoint import save_checkpoint
from experiments.tests.runs import said_error
from experiments.weight_files import onnx_file
from experiments.weight_files.onnx_file import compare_outputs
from experiments.weight_files.trained import find_trained
from experiments.weights import main
from frameworks.arrays import Arrays
from frameworks.config import preset
from frameworks.errors import UserError
from frameworks.state.initialisation import initial_weights
from frameworks.workers.client import open_framework
from reports.tests.run_folder import write_run

TINY = preset("tiny")
CLASSES, QUERIES = 5, 12
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder in which Jittor alone has a checkpoint."""
    folder = write_run(tmp_path / "run", epochs=1)
    state = {
        f"{kind}/{name}": array
        for kind, seed in (("parameter", 4), ("ema", 3))
        for name, array in initial_weights(TINY.model, seed).items()
    }
    save_checkpoint(folder / "jittor", state, TINY, epochs=1, steps=1)
    return folder


def test_a_model_that_jittor_trained_is_exported_and_held_to_both(
    run: Path, tmp_path: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """PyTorch stands in for Jittor; parity_tests/test_onnx.py compares an exported graph with both."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="pip install 'twin-detr[onnx]'")
    asked: list[str] = []

    def by_pytorch(name: str) -> Any:
        asked.append(name)
        return open_framework("torch", in_process=True)

    monkeypatch.setattr(onnx_file, "open_framework", by_pytorch)
    out = tmp_path / "model.onnx"
    assert main(["export", str(run), str(out), "--image-size", "64"]) == 0
    text = capsys.readouterr().out
    assert "against torch: " in text and "against jittor, which trained it: " in text
    assert asked == ["torch", "jittor"]
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["model"] == "tiny" and facts["trained_weights"] == "checkpoint.safetensors"
    images = np.zeros((5, 3, 64, 64), np.float32)
    labels, boxes, scores = session.run(
        ["labels", "boxes", "scores"], {"images": images, "sizes_wh": np.full((5, 2), 64, np.float32)}
    )
    assert boxes.shape == (*scores.shape, 4) == (*labels.shape, 4) and len(labels) == 5


def a_pass(seed: int = 0) -> tuple[Arrays, Arrays, np.ndarray]:
    """Outputs of a file that computes the truth, the truth, and the sizes of its images."""
    random = np.random.default_rng(seed)
    sizes = np.array([[640, 480], [333, 500]], np.float32)
    logits = random.normal(size=(2, QUERIES, CLASSES))
    boxes = random.uniform(0.2, 0.8, (2, QUERIES, 4))
    scores = -np.sort(-random.uniform(size=(2, QUERIES)))
    probabilities = 1 / (1 + np.exp(-logits))
    order = np.argsort(-probabilities.reshape(2, -1))[:, :QUERIES]
    query, labels = np.divmod(order, CLASSES)
    corners = np.concatenate([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)
    corners = corners * np.concatenate([sizes, sizes], 1)[:, None]
    found = {
        "labels": labels,
        "boxes": np.take_along_axis(corners, query[..., None], 1).astype(np.float32),
        "scores": np.take_along_axis(probabilities.reshape(2, -1), order, 1).astype(np.float32),
        "logits": logits.astype(np.float32),
        "boxes_cxcywh": boxes.astype(np.float32),
    }
    truth = {"forward/pred_logits": logits, "forward/pred_boxes": boxes}
    return found, truth | {"select/scores": scores, "best scores": scores.copy()}, sizes


def wrong(found: Arrays, truth: Arrays, sizes: np.ndarray) -> set[str]:
    return {each.tensor for each in compare_outputs(found, truth, sizes, focal=True) if not each.passed}


def test_two_detections_may_change_places_and_nothing_else() -> None:
    found, truth, sizes = a_pass()
    assert wrong(found, truth, sizes) == set()
    for name in ("labels", "boxes", "scores"):
        found[name][:, [3, 4]] = found[name][:, [4, 3]]
    assert wrong(found, truth, sizes) == set()


def test_every_fault_is_found() -> None:
    def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> set[str]:
        found, truth, sizes = a_pass()
        where = found if name in found else truth
        where[name] = change(where[name])
        return wrong(found, truth, sizes)

    assert "forward/pred_logits" in changed("logits", lambda array: array + 1e-3)
    assert "forward/pred_boxes" in changed("boxes_cxcywh", lambda array: array * 1.001)
    assert "select/scores" in changed("select/scores", lambda array: array * 0.999), "another token was selected"
    assert "postprocess/scores" in changed("labels", lambda array: (array + 1) % CLASSES)
    assert "postprocess/boxes" in changed("boxes", lambda array: array[..., [1, 0, 3, 2]]), "width and height"
    assert "postprocess/scores" in changed("scores", lambda array: array * 0.99)
    repeated = changed("scores", lambda array: np.repeat(array[:, :1], QUERIES, 1))
    assert "postprocess/best_scores" in repeated, "the best one twelve times"


def test_a_softmax_has_a_background_class() -> None:
    logits = np.random.default_rng(1).normal(size=(1, 4, 3))
    probabilities = onnx_file._probabilities(logits, focal=False)
    expected = (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))[..., :-1]
    assert np.allclose(probabilities, expected, rtol=1e-14)


def test_a_file_that_computes_something_else_is_not_kept(run: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    found, truth, sizes = a_pass()
    found["logits"] = found["logits"] + np.float32(0.01)
    monkeypatch.setattr(onnx_file, "_write", lambda path, loaded, size: path.write_bytes(b"wrong"))
    monkeypatch.setattr(onnx_file, "run_file", lambda path, inputs: found)
    compared = compare_outputs(found, truth, sizes, focal=True)
    monkeypatch.setattr(onnx_file, "compare_with", lambda *arguments: compared)
    out = tmp_path / "model.onnx"
    out.write_bytes(b"precious")
    assert main(["export", str(run), str(out)]) == 2
    said_error(capsys, "exists", "--force")
    assert main(["export", str(run), str(out), "--force"]) == 2
    said_error(capsys, "ONNX Runtime does not compute what torch does", "forward/pred_logits")
    assert out.read_bytes() == b"precious" and sorted(each.name for each in tmp_path.iterdir()) == [
        "model.onnx",
        "run",
    ]


def test_the_checkpoint_of_a_run_is_found(run: Path) -> None:
    found = find_trained(str(run))
    assert (Path(found.source), found.framework, found.spec) == (
        run / "jittor/checkpoint.safetensors",
        "jittor",
        TINY,
    )
    assert find_trained(found.source) == found, "by itself"


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        ({"framework": "torch"}, ["torch/checkpoint.safetensors", "give one of jittor"]),
        ({"checkpoint": "best"}, ["no best checkpoint"]),
    ],
)
def test_a_checkpoint_that_is_not_there_is_one_line(
    run: Path, options: dict[str, str], fragments: list[str]
) -> None:
    with pytest.raises(UserError) as error:
        find_trained(str(run), **options)
    assert all(fragment in str(error.value) for fragment in fragments)


def test_a_folder_that_is_no_run_and_a_choice_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run folder"):
        find_trained(str(tmp_path))
    (tmp_path / "weights.pth").write_text(json.dumps({}))
    with pytest.raises(UserError, match="nothing to choose from"):
        find_trained(str(tmp_path / "weights.pth"), framework="jittor")
