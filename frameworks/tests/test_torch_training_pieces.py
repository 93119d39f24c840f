"""Matching, losses, denoising, post-processing, optimizer and EMA of the PyTorch twin, against NumPy in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from frameworks.config import CriterionSpec, DecoderSpec, MatcherSpec, ModelSpec, ParameterGroup, RecipeSpec, preset
from frameworks.protocol import Case
from frameworks.shared import drawn_inputs
from frameworks.shared.hungarian import Indices
from frameworks.shared.noise import denoising_count, draw_noise
from frameworks.tests import closed_forms
from frameworks.torch_rtdetr import adapter
from frameworks.torch_rtdetr.criterion import box_losses, match, matched, matching_costs, varifocal_loss
from frameworks.torch_rtdetr.decoder import Prediction
from frameworks.torch_rtdetr.denoising import Noise, Targets, make_denoising_queries
from frameworks.torch_rtdetr.ema import ModelEMA
from frameworks.torch_rtdetr.optimizer import Optimizer, add_gradients, clip_gradients
from frameworks.torch_rtdetr.postprocess import postprocess

CLASSES = 5
Drawn = list[tuple[np.ndarray, np.ndarray]]


def drawn_targets(*counts: int, seed: int = 0) -> Drawn:
    rng = np.random.Generator(np.random.PCG64(seed))
    labels = [rng.integers(0, CLASSES, n) for n in counts]
    sides = [(rng.uniform(0.2, 0.8, (n, 2)), rng.uniform(0.05, 0.4, (n, 2))) for n in counts]
    return [(label, np.concatenate(pair, axis=1)) for label, pair in zip(labels, sides, strict=True)]


def as_targets(drawn: Drawn) -> Targets:
    labels = [torch.from_numpy(a) for a, _ in drawn]
    return Targets(labels, [torch.from_numpy(b) for _, b in drawn])


def drawn_prediction(batch: int, queries: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.Generator(np.random.PCG64(seed))
    logits = rng.normal(0, 2, (batch, queries, CLASSES))
    centres, sizes = rng.uniform(0.2, 0.8, (batch, queries, 2)), rng.uniform(0.05, 0.4, (batch, queries, 2))
    return logits, np.concatenate([centres, sizes], -1)


def as_prediction(logits: np.ndarray, boxes: np.ndarray) -> Prediction:
    return Prediction(torch.from_numpy(logits).requires_grad_(), torch.from_numpy(boxes).requires_grad_())


SHAPES = [(3, 2), (2, 0), (0, 0)]  # targets of each image


@pytest.mark.parametrize("counts", SHAPES)
def test_matching_costs_against_a_loop(counts):
    drawn, (logits, boxes) = drawn_targets(*counts), drawn_prediction(2, 4)
    costs = matching_costs(as_prediction(logits, boxes), as_targets(drawn), MatcherSpec())
    for b, cost in enumerate(costs):
        assert not cost.requires_grad
        np.testing.assert_allclose(cost, closed_forms.matching_cost(logits[b], boxes[b], *drawn[b]), atol=1e-12)


@pytest.mark.parametrize("counts", SHAPES)
def test_losses_against_loops(counts):
    drawn, (logits, boxes) = drawn_targets(*counts), drawn_prediction(2, 4)
    prediction, targets, spec = as_prediction(logits, boxes), as_targets(drawn), CriterionSpec()
    indices = match(prediction, targets, spec.matcher).indices
    assert [len(queries) for queries, _ in indices] == list(counts)
    num_boxes = max(sum(counts), 1.0)
    pairs = matched(targets, indices)
    vfl = varifocal_loss(prediction, pairs, num_boxes, spec)
    wanted = closed_forms.varifocal(logits, boxes, drawn, indices, num_boxes, spec.alpha, spec.gamma)
    assert float(vfl.detach()) == pytest.approx(wanted, rel=1e-12)
    terms = [float(v.detach()) for v in box_losses(prediction, pairs, num_boxes, spec)]
    assert terms == pytest.approx(closed_forms.box_terms(boxes, drawn, indices, num_boxes))


def test_varifocal_gradient_stops_at_weight_and_target():
    """d/dx of weight * BCE(x, score) with weight and score held: weight * (sigmoid(x) - score); boxes get none."""
    drawn, (logits, boxes) = drawn_targets(2), drawn_prediction(1, 3)
    prediction, spec = as_prediction(logits, boxes), CriterionSpec()
    indices: Indices = [(np.asarray([0, 2]), np.asarray([1, 0]))]
    loss = varifocal_loss(prediction, matched(as_targets(drawn), indices), 2.0, spec)
    grad_logits, grad_boxes = torch.autograd.grad(
        loss, [prediction.logits, prediction.boxes_cxcywh], allow_unused=True
    )
    probability = closed_forms.sigmoid(logits)
    weight, score = spec.alpha * probability**spec.gamma, np.zeros_like(logits)
    for q, t in ((0, 1), (2, 0)):
        iou, _ = closed_forms.overlap(closed_forms.corners(boxes[0, q]), closed_forms.corners(drawn[0][1][t]))
        weight[0, q, drawn[0][0][t]] = score[0, q, drawn[0][0][t]] = iou
    assert grad_boxes is None
    np.testing.assert_allclose(grad_logits, weight * (probability - score) / 2.0, atol=1e-14)


def test_perfect_boxes_cost_nothing():
    drawn = drawn_targets(3)
    prediction = as_prediction(np.zeros((1, 3, CLASSES)), drawn[0][1][None])
    indices: Indices = [(np.arange(3), np.arange(3))]
    terms = box_losses(prediction, matched(as_targets(drawn), indices), 3.0, CriterionSpec())
    assert [float(v.detach()) for v in terms] == pytest.approx([0, 0])


@pytest.mark.parametrize(("counts", "num_denoising"), [((3, 1), 12), ((2, 0), 5), ((3, 3), 2)])
def test_denoising_layout_against_a_loop(counts, num_denoising):
    model = replace(
        preset("tiny").model, num_classes=CLASSES, decoder=DecoderSpec(num_queries=3, num_denoising=num_denoising)
    )
    drawn = drawn_targets(*counts)
    noise = draw_noise(model, np.asarray(counts), np.random.Generator(np.random.PCG64(4)))
    noise = {n: a.astype(np.float64) if a.dtype.kind == "f" else a for n, a in noise.items()}
    queries = make_denoising_queries(as_targets(drawn), as_noise(noise), model)
    wanted = closed_forms.denoising_layout(drawn, noise, num_denoising, 3, CLASSES)
    labels, boxes, blocked, positives, groups = wanted
    assert queries is not None and queries.groups == groups
    np.testing.assert_array_equal(queries.labels_BN, labels)
    np.testing.assert_allclose(queries.boxes_unact_BN4, boxes, atol=1e-11)
    np.testing.assert_array_equal(queries.blocked_SS, blocked)
    assert [p.tolist() for p in queries.positive_idx] == positives
    assert boxes[1, counts[1] : max(counts)] == pytest.approx(-11.512925, abs=1e-5), "padding has no box"


def as_noise(noise: dict[str, np.ndarray]) -> Noise:
    return Noise(*(torch.from_numpy(noise[f"noise/{n}"]) for n in ("label_u", "new_label", "sign", "part")))


def test_denoising_needs_noise_and_targets():
    spec = ModelSpec(num_classes=CLASSES, decoder=DecoderSpec(num_denoising=4))
    with pytest.raises(ValueError, match="noise"):
        make_denoising_queries(as_targets(drawn_targets(2)), None, spec)
    assert make_denoising_queries(as_targets(drawn_targets(0, 0)), None, spec) is None
    off = replace(spec, decoder=DecoderSpec(num_denoising=0))
    assert make_denoising_queries(as_targets(drawn_targets(2)), None, off) is None


def test_v2_makes_a_pair_of_dummies_where_no_image_has_a_target():
    spec = ModelSpec(version="v2", num_classes=CLASSES, decoder=DecoderSpec(num_queries=3, num_denoising=4))
    noise = draw_noise(spec, np.zeros(2, np.int64), np.random.Generator(np.random.PCG64(4)))
    noise["noise/sign"][:], noise["noise/part"][:] = 1, 0.5
    queries = make_denoising_queries(as_targets(drawn_targets(0, 0)), as_noise(noise), spec)
    assert queries is not None and queries.groups == 1
    assert (queries.labels_BN == CLASSES).all(), "padding: no class embedding learns from them"
    # both corners move by +0.5 (positive) and +1.5 (negative) times half the size 0.05
    centres = [[0.525, 0.525], [0.575, 0.575]]
    np.testing.assert_allclose(queries.boxes_unact_BN4[0].double().sigmoid()[:, :2], centres, atol=1e-6)
    assert queries.blocked_SS[2:, :2].all() and not queries.blocked_SS[:2].any()
    assert [len(p) for p in queries.positive_idx] == [0, 0]


def test_postprocess_against_numpy():
    logits, boxes = drawn_prediction(2, 6)
    sizes = np.asarray([[640, 480], [33, 77]])
    result = postprocess(as_prediction(logits, boxes), torch.from_numpy(sizes), 6)
    labels, pixels, scores = closed_forms.postprocess(logits, boxes, sizes, 6)
    np.testing.assert_array_equal(result[0], labels)
    np.testing.assert_allclose(result[1].detach(), pixels, atol=1e-10)
    np.testing.assert_allclose(result[2].detach(), scores, atol=1e-14)
    assert result[0].dtype == torch.int64


@pytest.mark.parametrize(("limit", "factor"), [(0.1, 0.1 / (5 + 1e-6)), (5.1, 1.0), (0.0, 1.0)])
def test_gradients_are_clipped_by_their_joint_norm(limit, factor):
    gradients = {"a": torch.tensor([3.0, 0.0]).double(), "b": torch.tensor([[4.0]]).double()}
    clipped, norm = clip_gradients(gradients, limit)
    assert float(norm) == pytest.approx(5)
    assert clipped["a"].tolist() == pytest.approx([3 * factor, 0])
    assert clipped["b"].tolist() == pytest.approx(np.asarray([[4 * factor]]))
    assert gradients["a"].tolist() == [3.0, 0.0], "the caller's gradients stay"


RECIPE = RecipeSpec(
    groups=(ParameterGroup("bias", lr=1e-2, weight_decay=0.0), ParameterGroup("", lr=1e-3, weight_decay=0.1))
)


def test_adamw_against_closed_form_and_torch():
    rng = np.random.Generator(np.random.PCG64(6))
    start = {n: rng.standard_normal(s) for n, s in {"weight": (3, 2), "bias": (2,), "unused": (4,)}.items()}
    twin = {n: torch.nn.Parameter(torch.from_numpy(a.copy())) for n, a in start.items()}
    library = {n: torch.nn.Parameter(torch.from_numpy(a.copy())) for n, a in start.items()}
    groups = [
        {"params": [library["bias"]], "lr": 1e-2, "weight_decay": 0.0},
        {"params": [library["weight"], library["unused"]], "lr": 1e-3, "weight_decay": 0.1},
    ]
    inner = torch.optim.AdamW(groups)
    optimizer = Optimizer(twin, RECIPE)
    exact = {n: (a.copy(), 0 * a, 0 * a) for n, a in start.items() if n != "unused"}
    for t in range(1, 6):
        rates = [1e-2 / t, 1e-3 / t]
        gradients = {n: rng.standard_normal(start[n].shape) * 10.0 ** (-2 * t) for n in exact}
        optimizer.step({n: torch.from_numpy(g) for n, g in gradients.items()}, rates)
        for group, rate in zip(inner.param_groups, rates, strict=True):
            group["lr"] = rate
        for n, g in gradients.items():
            library[n].grad = torch.from_numpy(g)
            rate, decay = (rates[0], 0.0) if n == "bias" else (rates[1], 0.1)
            exact[n] = closed_forms.adamw_step(exact[n][0], g, *exact[n][1:], t, rate, decay)
        inner.step()
    state = optimizer.state()
    for n, (p, m, v) in exact.items():
        np.testing.assert_allclose(twin[n].detach(), p, rtol=1e-12, atol=1e-15)
        np.testing.assert_array_equal(twin[n].detach(), library[n].detach())
        np.testing.assert_allclose(state[f"moment1/{n}"], m, rtol=1e-12, atol=1e-18)
        np.testing.assert_allclose(state[f"moment2/{n}"], v, rtol=1e-12, atol=1e-18)
        assert float(state[f"steps/{n}"]) == 5
    np.testing.assert_array_equal(twin["unused"].detach(), start["unused"])
    assert not [n for n in state if n.endswith("unused")], "no gradient: no moment, no decay"


@pytest.mark.parametrize(
    ("fields", "kind", "arguments"),
    [
        ({"optimizer": "adam", "betas": (0.8, 0.99)}, torch.optim.Adam, {"betas": (0.8, 0.99)}),
        ({"optimizer": "sgd"}, torch.optim.SGD, {}),
        ({"optimizer": "sgd", "momentum": 0.9}, torch.optim.SGD, {"momentum": 0.9}),
        (
            {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
            torch.optim.SGD,
            {"momentum": 0.9, "nesterov": True},
        ),
    ],
)
def test_other_optimizers_are_those_of_torch_and_go_on_from_their_state(fields, kind, arguments):
    rng, recipe = np.random.Generator(np.random.PCG64(7)), replace(RECIPE, **fields)
    start = {n: rng.standard_normal(s) for n, s in {"weight": (3, 2), "bias": (2,)}.items()}
    twin = {n: torch.nn.Parameter(torch.from_numpy(a.copy())) for n, a in start.items()}
    library = {n: torch.nn.Parameter(torch.from_numpy(a.copy())) for n, a in start.items()}
    groups = [
        {"params": [library["bias"]], "lr": 1e-2, "weight_decay": 0.0},
        {"params": [library["weight"]], "lr": 1e-3, "weight_decay": 0.1},
    ]
    inner, optimizer = kind(groups, foreach=False, **arguments), Optimizer(twin, recipe)
    for _ in range(4):
        for parameter in library.values():
            parameter.grad = torch.from_numpy(rng.standard_normal(tuple(parameter.shape)))
        inner.step()
        optimizer.step({n: p.grad for n, p in library.items() if p.grad is not None}, [1e-2, 1e-3])
        state = {n: t.clone() for n, t in optimizer.state().items()}
        optimizer = Optimizer(twin, recipe)
        optimizer.load(state)
    for n in start:
        np.testing.assert_allclose(twin[n].detach(), library[n].detach(), rtol=1e-14)
    wanted = {"sgd": {"moment1"} if "momentum" in fields else set(), "adam": {"moment1", "moment2", "steps"}}
    assert {n.partition("/")[0] for n in optimizer.state()} == wanted[fields["optimizer"]]


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
def test_a_gradient_in_another_layout_gives_the_same_update(kind):
    """PyTorch's fused optimizers take the numbers of a channels-last gradient in memory order, without an error."""
    gradient = torch.from_numpy(np.random.Generator(np.random.PCG64(8)).standard_normal((4, 3, 3, 3)))
    moved = []
    for layout in (torch.contiguous_format, torch.channels_last):
        twin = {"weight": torch.nn.Parameter(torch.ones(4, 3, 3, 3, dtype=torch.float64))}
        optimizer = Optimizer(twin, replace(RECIPE, optimizer=kind))
        optimizer.step({"weight": gradient.contiguous(memory_format=layout)}, [1e-2, 1e-3])
        moved.append(twin["weight"].detach())
    np.testing.assert_array_equal(*moved)


def test_gradients_of_several_batches_are_averaged():
    first = {"a": torch.tensor([2.0, 4.0]), "b": torch.tensor([1.0])}
    total = add_gradients({}, first, 0.5)
    total = add_gradients(total, {"a": torch.tensor([4.0, 0.0]), "c": torch.tensor([6.0])}, 0.5)
    assert {n: t.tolist() for n, t in total.items()} == {"a": [3.0, 2.0], "b": [0.5], "c": [3.0]}
    assert add_gradients({}, first, 1.0)["a"] is first["a"], "alone they are not touched"


def test_average_of_the_whole_floating_state():
    model = torch.nn.BatchNorm2d(2).double()
    ema = ModelEMA(model)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.running_mean.fill_(8.0)  # pyright: ignore[reportOptionalMemberAccess]
    ema.update(model, 0.75)
    assert ema.state()["weight"].tolist() == [1.5, 1.5]  # 0.75 * 1 + 0.25 * 3
    assert ema.state()["running_mean"].tolist() == [2.0, 2.0]
    assert "num_batches_tracked" not in ema.state()
    assert model.weight.tolist() == [3.0, 3.0]
    other = ModelEMA(torch.nn.BatchNorm2d(2).double())
    other.load(ema.state())
    assert other.state()["weight"].tolist() == [1.5, 1.5]


@pytest.mark.parametrize("counts", [(0, 2), (2, 0), (0, 0)])
def test_images_without_targets(counts):
    """Finite losses always; no denoising and no box loss if all are empty (docs/pitfalls.md E.8, E.9)."""
    spec = preset("tiny")
    shapes = adapter.FRAMEWORK.parameter_shapes(spec.model)
    inputs = {"images": drawn_inputs.images(2, 64, 64, "empty")} | drawn_inputs.targets("empty", counts)
    inputs |= drawn_inputs.noise(2, denoising_count(spec.model, np.asarray(counts)), "empty") if any(counts) else {}
    weights = drawn_inputs.weights(shapes, "empty")
    trace = adapter.FRAMEWORK.trace(
        Case("loss", spec, training=True), weights, inputs, device="cpu", dtype="float64"
    )
    losses = {n.removeprefix("loss/"): float(a) for n, a in trace.items() if n.startswith("loss/")}
    assert np.isfinite(list(losses.values())).all()
    assert all(np.isfinite(a).all() for n, a in trace.items() if n.startswith("gradient/"))
    assert all((losses[n] > 0) == any(counts) for n in losses if n.startswith(("bbox", "giou")))
    assert all(losses[n] > 0 for n in losses if n.startswith("vfl"))
    assert len(losses) == (16 if any(counts) else 10)
    assert ("gradient/decoder.denoising_class_embed.weight" in trace) == any(counts)


def test_padding_row_gets_no_gradient():
    spec = preset("tiny")
    counts = np.asarray((3, 1))  # the second image is padded
    inputs = {"images": drawn_inputs.images(2, 64, 64, "pad")} | drawn_inputs.targets("pad", (3, 1))
    inputs |= drawn_inputs.noise(2, denoising_count(spec.model, counts), "pad")
    weights = drawn_inputs.weights(adapter.FRAMEWORK.parameter_shapes(spec.model), "pad")
    case = Case("loss", spec, training=True)
    trace = adapter.FRAMEWORK.trace(case, weights, inputs, device="cpu", dtype="float64")
    gradient = trace["gradient/decoder.denoising_class_embed.weight"]
    assert not gradient[-1].any() and gradient[:-1].any()
