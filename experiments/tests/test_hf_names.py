"""The name map to Hugging Face's RT-DETR and RT-DETRv2: complete both ways, exact, the same function behind it."""

import dataclasses
import importlib.util
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frameworks.arrays import Arrays
from frameworks.config import CriterionSpec, ExperimentSpec, preset
from frameworks.errors import UserError
from frameworks.hf_rtdetr.names import (
    RULES,
    Rule,
    constants,
    from_huggingface,
    huggingface_names,
    name_table,
    require_supported,
    to_huggingface,
    unsupported,
)
from frameworks.protocol import Case
from frameworks.shared import drawn_inputs
from frameworks.state.parameters import state_shapes
from frameworks.workers.client import open_framework

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None,
    reason="transformers is not installed: pip install 'twin-detr[huggingface]'",
)
SPEC = preset("rtdetr_r18vd")
SHAPES = state_shapes(SPEC.model)
WEIGHTS = drawn_inputs.weights(SHAPES, "hf")  # far from initialisation: zeros would hide a wrong entry
SIDE = 128  # 336 tokens: the smallest square from which 300 queries can be selected
LIMIT = 1e-9


# One preset for every way in which names differ: both blocks of PResNet, all depths, both versions, HGNetv2.
PRESET_NAMES = (
    "rtdetr_r18vd",
    "rtdetr_r34vd",
    "rtdetr_r50vd",
    "rtdetr_r50vd_m",
    "rtdetr_r101vd",
    "rtdetrv2_r18vd",
    "rtdetrv2_r18vd_sp1",
    "rtdetrv2_r18vd_sp2",
    "rtdetrv2_r18vd_sp3",
    "rtdetrv2_r18vd_dsp",
    "rtdetrv2_r50vd",
    "rtdetrv2_hgnetv2_l",
)
every_preset = pytest.mark.parametrize("name", PRESET_NAMES)


def huggingface_shapes(spec: ExperimentSpec) -> dict[str, tuple[int, ...]]:
    """Of a model without storage: names and shapes only."""
    import torch

    from frameworks.hf_rtdetr.model import empty

    with torch.device("meta"):
        state = empty(spec.model, spec.criterion).state_dict()
    return {name: tuple(value.shape) for name, value in state.items()}


def shaped(spec: ExperimentSpec) -> Arrays:
    """Arrays of the right shapes and of no content, which take no memory."""
    return {n: np.broadcast_to(np.float32(0), shape) for n, shape in state_shapes(spec.model).items()}


def huggingface_predictions(weights: Arrays, images: np.ndarray, rules: list[Rule] = RULES) -> Arrays:
    """Evaluation-mode logits and boxes in float64."""
    import torch

    from frameworks.hf_rtdetr.model import build

    model = build(SPEC.model, SPEC.criterion, weights, "cpu", torch.float64, rules).eval()
    with torch.no_grad():
        outputs = model(pixel_values=torch.from_numpy(images.astype(np.float64)))
    return {"pred_logits": outputs.logits.numpy(), "pred_boxes": outputs.pred_boxes.numpy()}


def twin_predictions(weights: Arrays, images: np.ndarray) -> Arrays:
    import frameworks

    case = Case("forward", SPEC)
    trace = frameworks.load("torch").trace(case, weights, {"images": images}, device="cpu", dtype="float64")
    return {name: trace[f"forward/{name}"] for name in ("pred_logits", "pred_boxes")}


def difference(twin: Arrays, other: Arrays) -> float:
    """The worst relative Frobenius error of ``other``."""
    return max(float(np.linalg.norm(other[n] - twin[n]) / np.linalg.norm(twin[n])) for n in twin)


def swapped(rules: list[Rule], pattern: str, first: int, second: int) -> list[Rule]:
    """The rules with two targets of one rule exchanged."""
    found = [rule for rule in rules if rule.canonical == pattern]
    assert len(found) == 1
    targets = list(found[0].huggingface)
    targets[first], targets[second] = targets[second], targets[first]
    return [Rule(pattern, tuple(targets)) if rule is found[0] else rule for rule in rules]


@needs_transformers
@every_preset
def test_every_name_is_covered_once_both_ways_with_its_shape(name: str) -> None:
    spec = preset(name)
    mapped = {n: a.shape for n, a in to_huggingface(shaped(spec)).items()}  # raises on no rule, two, or one place
    shapes = huggingface_shapes(spec)
    alone = {n for n in shapes if any(rule.has_no_canonical(n) for rule in RULES)}
    assert mapped == {n: shape for n, shape in shapes.items() if n not in alone}
    table = name_table(list(state_shapes(spec.model)))
    assert {n for n, _ in table.values()} == set(state_shapes(spec.model))


@needs_transformers
def test_an_entry_without_a_canonical_name_is_a_copy_or_a_constant() -> None:
    import torch

    from frameworks.hf_rtdetr.model import build, empty

    spec = preset("rtdetrv2_r18vd_sp3")
    weights = drawn_inputs.weights(state_shapes(spec.model), "hf")
    model = build(spec.model, spec.criterion, weights, "cpu", torch.float64)
    state, given = model.state_dict(), constants(spec.model)
    alone = {n for n in state if any(rule.has_no_canonical(n) for rule in RULES)}
    assert alone == model.all_tied_weights_keys.keys() | given.keys()
    for copy, name in model.all_tied_weights_keys.items():
        assert state[copy].data_ptr() == state[name].data_ptr()
    own = empty(spec.model, spec.criterion).state_dict()
    for name, array in given.items():
        np.testing.assert_array_equal(own[name].numpy(), array.astype(np.float32))
    back = from_huggingface({n: value.numpy() for n, value in state.items()}, list(weights))
    assert all((back[n] == array).all() for n, array in weights.items())


@every_preset
def test_round_trip_is_bit_exact(name: str) -> None:
    """Every entry holds other random bits, so that two exchanged entries of equal shape would be seen."""
    weights: Arrays = {}
    for i, (entry, array) in enumerate(shaped(preset(name)).items()):
        if array.size <= 2**18:
            data = np.random.default_rng(i).bytes(4 * array.size)
            weights[entry] = np.frombuffer(data, np.float32).reshape(array.shape)
    back = from_huggingface(to_huggingface(weights), list(weights))
    assert back.keys() == weights.keys()
    assert all(back[n].tobytes() == array.tobytes() for n, array in weights.items())


def test_packed_attention_is_cut_in_the_order_query_key_value() -> None:
    packed = np.arange(6.0).reshape(6, 1)
    state = to_huggingface({"decoder.decoder.layers.2.self_attn.in_proj_weight": packed})
    prefix = "model.decoder.layers.2.self_attn"
    assert {name: array.ravel().tolist() for name, array in state.items()} == {
        f"{prefix}.q_proj.weight": [0, 1],
        f"{prefix}.k_proj.weight": [2, 3],
        f"{prefix}.v_proj.weight": [4, 5],
    }


@needs_transformers
def test_same_function_as_the_torch_twin() -> None:
    images = drawn_inputs.images(1, SIDE, SIDE, "hf")
    assert difference(twin_predictions(WEIGHTS, images), huggingface_predictions(WEIGHTS, images)) <= LIMIT


@needs_transformers
@pytest.mark.parametrize(
    "pattern",
    [
        "encoder.encoder.{i}.layers.{j}.self_attn.in_proj_{leaf}",
        "decoder.decoder.layers.{i}.self_attn.in_proj_{leaf}",
    ],
)
def test_swapped_entries_are_seen(pattern: str) -> None:
    """Query and value have equal shapes: only the comparison of outputs can see them exchanged."""
    images = drawn_inputs.images(1, SIDE, SIDE, "hf")
    faulty = huggingface_predictions(WEIGHTS, images, swapped(RULES, pattern, 0, 2))
    assert difference(twin_predictions(WEIGHTS, images), faulty) > 1e3 * LIMIT


def test_a_name_without_a_rule_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"decoder\.new\.weight: 0 rules"):
        huggingface_names("decoder.new.weight")


def test_a_name_with_two_rules_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 rules"):
        huggingface_names(
            "decoder.enc_score_head.bias", [*RULES, Rule("decoder.enc_score_head.{leaf}", ("x.{leaf}",))]
        )


def test_two_names_in_one_place_are_an_error() -> None:
    rules = [Rule("a.{leaf}", ("x.{leaf}",)), Rule("b.{leaf}", ("x.{leaf}",))]
    with pytest.raises(ValueError, match=r"both a\.bias and b\.bias"):
        name_table(["a.bias", "b.bias"], rules)


def test_a_state_with_an_entry_too_many_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"differ in 1 names, first \['model\.extra'\]"):
        from_huggingface(to_huggingface(WEIGHTS) | {"model.extra": np.zeros(1)}, list(SHAPES))


def test_a_model_that_hugging_face_cannot_express_is_refused() -> None:
    require_supported(SPEC.model)
    with pytest.raises(UserError, match=r"stem_channels .* leave hf out"):
        require_supported(preset("tiny").model)
    with pytest.raises(UserError, match=r"no dla .* leave hf out"):
        require_supported(preset("rtdetr_dla34").model)
    with pytest.raises(UserError, match="every decoder layer runs"):
        require_supported(preset("rtdetr_r50vd_m").model)


@needs_transformers
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"losses": ("focal", "boxes")}, "always vfl and boxes, not focal, boxes"),
        ({"boxes_weight_format": "iou"}, "no boxes_weight_format"),
        ({"share_matched_indices": True}, "share_matched_indices"),
    ],
)
def test_losses_that_hugging_face_does_not_have_are_refused(changes: dict[str, Any], reason: str) -> None:
    from frameworks.hf_rtdetr.model import configuration

    with pytest.raises(UserError, match=f"loss cannot represent this one: .*{reason}"):
        configuration(SPEC.model, CriterionSpec(**changes))


@pytest.mark.parametrize(
    "change",
    [
        {"stage_channels": (32, 64, 128, 256)},  # the first stage would pool
        {"stage_channels": (64, 128, 128, 256)},  # the third stage would stride without pooling
        {"block": "bottleneck", "stage_channels": (16, 128, 256, 512)},  # the first stage would have no shortcut
    ],
)
def test_widths_that_its_blocks_take_for_another_stage_are_refused(change: dict[str, Any]) -> None:
    backbone = dataclasses.replace(SPEC.model.backbone, **change)
    reason = unsupported(dataclasses.replace(SPEC.model, backbone=backbone))
    assert reason is not None
    assert "stage_channels" in reason


@needs_transformers
def test_a_training_step_does_the_twins_work() -> None:
    """Loss terms without denoising noise agree; parameters and averages move; groups are the recipe's."""
    from experiments.benchmarks.session import make_inputs
    from frameworks.hf_rtdetr.adapter import TrainingRun

    data = dataclasses.replace(SPEC.data, image_size=(SIDE, SIDE), batch_size=2)
    spec = dataclasses.replace(SPEC, data=data)
    batch, rates = make_inputs(spec).batch, [group.lr for group in spec.recipe.groups]
    run = TrainingRun(spec, WEIGHTS, "cpu")
    step = run.step(batch, rates, 0.5)
    with open_framework("torch") as framework:
        twin = framework.trainer(spec, WEIGHTS, device="cpu").step(batch, rates, 0.5)
    shared = [name for name in twin.losses if "_dn_" not in name]
    assert twin.losses.keys() == step.losses.keys()
    np.testing.assert_allclose([step.losses[n] for n in shared], [twin.losses[n] for n in shared], rtol=1e-4)
    groups: dict[int, int] = {}
    for name in trained_names():
        index = spec.recipe.group_of(name)
        groups[index] = groups.get(index, 0) + WEIGHTS[name].size
    sizes = [sum(p.numel() for p in group["params"]) for group in run.optimizer.param_groups]
    assert sizes == [groups[index] for index in range(len(sizes))]
    state = run.state()
    name = "decoder.enc_score_head.weight"
    moved, averaged = state[f"parameter/{name}"], state[f"ema/{name}"]
    assert np.abs(moved - WEIGHTS[name]).max() > 0
    np.testing.assert_allclose(averaged, 0.5 * (WEIGHTS[name] + moved), rtol=1e-5, atol=1e-7)


def trained_names() -> list[str]:
    from frameworks.state.parameters import trainable_names

    return trainable_names(SPEC.model)


@needs_transformers
def test_worker_speaks_like_the_twins() -> None:
    with open_framework("hf") as worker:
        assert worker.parameter_shapes(SPEC.model) == SHAPES
        assert worker.environment("cpu")["framework"] == "hf"
        with pytest.raises(UserError, match="traces only 'forward'"):
            worker.trace(Case("module", SPEC), {}, {}, device="cpu", dtype="float64")


@needs_transformers
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="without /proc there is no better figure")
def test_peak_memory_is_not_the_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    """ru_maxrss of a worker starts at its parent's peak, so it must not be used."""
    from frameworks.hf_rtdetr.adapter import TrainingRun

    monkeypatch.setattr(resource, "getrusage", lambda _: pytest.fail("ru_maxrss is read"))
    run = TrainingRun.__new__(TrainingRun)
    run.device = "cpu"
    assert 1 < run.peak_memory_mb() < 1e6
