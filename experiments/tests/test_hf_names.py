"""The name map to Hugging Face's RT-DETR: complete both ways, exact, and the same function behind it."""

import dataclasses
import importlib.util

import numpy as np
import pytest

from experiments.hf_names import Rule, from_hf, hf_names, name_table, read_rules, require_supported, to_hf
from experiments.hf_worker import open_hf
from frameworks.arrays import Arrays
from frameworks.client import open_framework
from frameworks.errors import UserError
from frameworks.parameters import state_shapes
from frameworks.protocol import Case
from frameworks.spec import ExperimentSpec, preset
from parity_tests import recipe

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None,
    reason="transformers is not installed: pip install 'twin-detr[benchmarks]'",
)
SPEC = preset("rtdetr_r18vd")
SHAPES = state_shapes(SPEC.model)
WEIGHTS = recipe.weights(SHAPES, "hf")  # far from initialisation: zeros would hide a wrong entry
SIDE = 128  # 336 tokens: the smallest square from which 300 queries can be selected
LIMIT = 1e-9
RULES = read_rules()


def hf_state_shapes(spec: ExperimentSpec = SPEC) -> dict[str, tuple[int, ...]]:
    from transformers import RTDetrForObjectDetection  # pyright: ignore[reportMissingImports]

    from experiments.hf_rtdetr import configuration

    state = RTDetrForObjectDetection(configuration(spec.model, spec.criterion)).state_dict()
    return {name: tuple(value.shape) for name, value in state.items()}


def hf_answer(weights: Arrays, images: np.ndarray, rules: list[Rule] = RULES) -> Arrays:
    """Evaluation-mode logits and boxes in float64."""
    import torch

    from experiments.hf_rtdetr import build

    model = build(SPEC.model, SPEC.criterion, weights, "cpu", torch.float64, rules).eval()
    with torch.no_grad():
        outputs = model(pixel_values=torch.from_numpy(images.astype(np.float64)))
    return {"pred_logits": outputs.logits.numpy(), "pred_boxes": outputs.pred_boxes.numpy()}


def twin_answer(weights: Arrays, images: np.ndarray) -> Arrays:
    import frameworks

    case = Case("forward", SPEC)
    trace = frameworks.load("torch").trace(case, weights, {"images": images}, device="cpu", dtype="float64")
    return {name: trace[f"forward/{name}"] for name in ("pred_logits", "pred_boxes")}


def difference(ours: Arrays, theirs: Arrays) -> float:
    """The worst relative Frobenius error."""
    return max(float(np.linalg.norm(theirs[n] - ours[n]) / np.linalg.norm(ours[n])) for n in ours)


def swapped(rules: list[Rule], pattern: str, first: int, second: int) -> list[Rule]:
    """The rules with two targets of one rule exchanged."""
    found = [rule for rule in rules if rule.canonical == pattern]
    assert len(found) == 1
    targets = list(found[0].hf)
    targets[first], targets[second] = targets[second], targets[first]
    return [Rule(pattern, tuple(targets)) if rule is found[0] else rule for rule in rules]


@needs_transformers
def test_every_name_is_covered_once_both_ways() -> None:
    table = name_table(list(SHAPES), RULES)  # raises on a name with no rule, two rules or a shared target
    assert sorted(table) == sorted(hf_state_shapes())
    assert {name for name, _ in table.values()} == set(SHAPES)


@needs_transformers
def test_shapes_agree() -> None:
    assert {name: array.shape for name, array in to_hf(WEIGHTS, RULES).items()} == hf_state_shapes()


@needs_transformers
def test_bottleneck_backbone_is_covered_too() -> None:
    backbone = dataclasses.replace(SPEC.model.backbone, block="bottleneck", blocks=(3, 4, 6, 3))
    spec = dataclasses.replace(SPEC, model=dataclasses.replace(SPEC.model, backbone=backbone))
    assert sorted(name_table(list(state_shapes(spec.model)), RULES)) == sorted(hf_state_shapes(spec))


def test_round_trip_is_bit_exact() -> None:
    back = from_hf(to_hf(WEIGHTS, RULES), list(SHAPES), RULES)
    assert back.keys() == WEIGHTS.keys()
    for name, array in WEIGHTS.items():
        assert back[name].dtype == array.dtype
        assert back[name].tobytes() == array.tobytes(), name


def test_packed_attention_is_cut_in_the_order_query_key_value() -> None:
    packed = np.arange(6.0).reshape(6, 1)
    state = to_hf({"decoder.decoder.layers.2.self_attn.in_proj_weight": packed}, RULES)
    prefix = "model.decoder.layers.2.self_attn"
    assert {name: array.ravel().tolist() for name, array in state.items()} == {
        f"{prefix}.q_proj.weight": [0, 1],
        f"{prefix}.k_proj.weight": [2, 3],
        f"{prefix}.v_proj.weight": [4, 5],
    }


@needs_transformers
def test_same_function_as_the_torch_twin() -> None:
    images = recipe.images(1, SIDE, SIDE, "hf")
    assert difference(twin_answer(WEIGHTS, images), hf_answer(WEIGHTS, images)) <= LIMIT


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
    images = recipe.images(1, SIDE, SIDE, "hf")
    faulty = hf_answer(WEIGHTS, images, swapped(RULES, pattern, 0, 2))
    assert difference(twin_answer(WEIGHTS, images), faulty) > 1e3 * LIMIT


def test_a_name_without_a_rule_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"decoder\.new\.weight: 0 rules"):
        hf_names("decoder.new.weight", RULES)


def test_a_name_with_two_rules_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 rules"):
        hf_names("decoder.enc_score_head.bias", [*RULES, Rule("decoder.enc_score_head.{leaf}", ("x.{leaf}",))])


def test_two_names_in_one_place_are_an_error() -> None:
    rules = [Rule("a.{leaf}", ("x.{leaf}",)), Rule("b.{leaf}", ("x.{leaf}",))]
    with pytest.raises(ValueError, match=r"both a\.bias and b\.bias"):
        name_table(["a.bias", "b.bias"], rules)


def test_a_state_with_an_entry_too_many_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"differ in 1 names, first \['model\.extra'\]"):
        from_hf(to_hf(WEIGHTS, RULES) | {"model.extra": np.zeros(1)}, list(SHAPES), RULES)


def test_a_model_that_hugging_face_cannot_express_is_refused() -> None:
    require_supported(SPEC.model)
    with pytest.raises(UserError, match=r"stem_channels .* leave hf out"):
        require_supported(preset("tiny").model)


@needs_transformers
def test_a_training_step_does_the_twins_work() -> None:
    """Loss terms without denoising noise agree; parameters and averages move; groups are the recipe's."""
    from experiments.benchmark_timing import make_batch
    from experiments.hf_rtdetr import TrainingRun

    data = dataclasses.replace(SPEC.data, image_size=(SIDE, SIDE), batch_size=2)
    spec = dataclasses.replace(SPEC, data=data)
    batch, rates = make_batch(spec), [group.lr for group in spec.recipe.groups]
    run = TrainingRun(spec, WEIGHTS, "cpu")
    theirs = run.step(batch, rates, 0.5)
    with open_framework("torch") as framework:
        ours = framework.trainer(spec, WEIGHTS, device="cpu").step(batch, rates, 0.5)
    shared = [name for name in ours.losses if "_dn_" not in name]
    assert ours.losses.keys() == theirs.losses.keys()
    np.testing.assert_allclose([theirs.losses[n] for n in shared], [ours.losses[n] for n in shared], rtol=1e-4)
    groups: dict[int, int] = {}
    for name in hf_names_trained():
        index = spec.recipe.group_of(name)
        groups[index] = groups.get(index, 0) + WEIGHTS[name].size
    sizes = [sum(p.numel() for p in group["params"]) for group in run.optimizer.param_groups]
    assert sizes == [groups[index] for index in range(len(sizes))]
    state = run.state()
    name = "decoder.enc_score_head.weight"
    moved, averaged = state[f"parameter/{name}"], state[f"ema/{name}"]
    assert np.abs(moved - WEIGHTS[name]).max() > 0
    np.testing.assert_allclose(averaged, 0.5 * (WEIGHTS[name] + moved), rtol=1e-5, atol=1e-7)


def hf_names_trained() -> list[str]:
    from frameworks.parameters import trainable_names

    return trainable_names(SPEC.model)


@needs_transformers
def test_worker_speaks_like_the_twins() -> None:
    """It is started through a script in place of an interpreter: this sees a change of the client's command."""
    with open_hf() as worker:
        assert worker.parameter_shapes(SPEC.model) == SHAPES
        assert worker.environment("cpu")["framework"] == "hf"
        with pytest.raises(UserError, match="answers only 'forward'"):
            worker.trace(Case("loss", SPEC), {}, {}, device="cpu", dtype="float64")
