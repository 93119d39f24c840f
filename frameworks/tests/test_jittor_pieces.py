"""The Jittor twin against closed forms in NumPy and SciPy, where Jittor differs from PyTorch.

One Jittor process (this one), tiny shapes: each new shape or operator is a kernel to compile once.
"""

import os
from dataclasses import replace
from importlib.machinery import PathFinder

import numpy as np
import pytest

import frameworks
from frameworks.config import CriterionSpec, DecoderSpec, MatcherSpec, ModelSpec, ParameterGroup, RecipeSpec
from frameworks.protocol import DEVICE_VARIABLE
from frameworks.tests import closed_forms

pytestmark = [
    pytest.mark.skipif(PathFinder.find_spec("jittor") is None, reason="Jittor is not installed here"),
    pytest.mark.skipif(os.environ.get(DEVICE_VARIABLE, "cpu") != "cpu", reason="Jittor is not on CPU here"),
]
CLASSES = 3


@pytest.fixture(scope="module")
def jt():
    framework = frameworks.load("jittor")
    assert framework.supports("cpu", "float64") is None
    import jittor

    return jittor


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def gradient(jt, function, *arrays: np.ndarray) -> list[np.ndarray]:
    """Value and gradients of sum(function(...)) in the arrays' dtype."""
    leaves = [jt.array(a) for a in arrays]
    value = function(*leaves)
    return [value.numpy(), *(g.numpy() for g in jt.grad(value.sum(), leaves))]


def test_float64_stays_float64(jt):
    assert jt.array(np.asarray([1 / 3])).numpy()[0] == 1 / 3


def test_detach_keeps_the_gradient_of_its_input(jt):
    """``stop_grad`` works in place; the twin must detach without touching what it detaches."""
    x = jt.array(np.asarray([1.0, 2.0]))
    y = x * x
    frozen = y.detach()
    (g,) = jt.grad((y * frozen).sum(), [x])
    np.testing.assert_allclose(g.numpy(), 2 * x.numpy() ** 3, rtol=1e-15)  # frozen counts as a constant
    assert not y.is_stop_grad()


def test_softmax(jt):
    from frameworks.jittor_rtdetr.operators import softmax

    x, cotangent = rng().normal(0, 3, (2, 4)), rng(1).normal(size=(2, 4))
    x[0, 1] = -np.inf  # a blocked key
    value, slope = gradient(jt, lambda v: softmax(v) * jt.array(cotangent), x)
    p = np.exp(x - x.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    np.testing.assert_allclose(value, p * cotangent, atol=1e-15)
    np.testing.assert_allclose(slope, p * (cotangent - (p * cotangent).sum(-1, keepdims=True)), atol=1e-15)


def test_batched_matmul(jt):
    from frameworks.jittor_rtdetr.operators import batched_matmul

    a, b = rng().normal(size=(2, 2, 3, 4)), rng(1).normal(size=(2, 2, 4, 2))
    cotangent = rng(2).normal(size=(2, 2, 3, 2))
    value, grad_a, grad_b = gradient(jt, lambda x, y: batched_matmul(x, y) * jt.array(cotangent), a, b)
    np.testing.assert_allclose(value, (a @ b) * cotangent, atol=1e-14)
    np.testing.assert_allclose(grad_a, cotangent @ b.swapaxes(-1, -2), atol=1e-14)
    np.testing.assert_allclose(grad_b, a.swapaxes(-1, -2) @ cotangent, atol=1e-14)


def test_gelu_is_exact_in_float64(jt):
    from frameworks.jittor_rtdetr.layers import activation

    x = np.linspace(-6, 6, 25)
    value, slope = gradient(jt, lambda v: activation("gelu", v), x)
    wanted, wanted_slope = closed_forms.gelu(x)
    np.testing.assert_allclose(value, wanted, atol=1e-14)
    np.testing.assert_allclose(slope, wanted_slope, atol=1e-14)


def test_binary_cross_entropy_also_at_a_logit_of_exactly_zero(jt):
    from frameworks.jittor_rtdetr.operators import binary_cross_entropy

    x = np.asarray([0.0, -0.0, 1.5, -30.0, 40.0, -800.0])
    target, weight = np.asarray([0.3, 1.0, 0.0, 1.0, 0.5, 0.0]), np.asarray([1.0, 2.0, 0.5, 1.0, 3.0, 1.0])
    value, slope = gradient(jt, lambda v: binary_cross_entropy(v, jt.array(target), jt.array(weight)), x)
    np.testing.assert_allclose(value, closed_forms.weighted_bce(x, target, weight), rtol=1e-14, atol=1e-14)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(slope, weight * (closed_forms.sigmoid(x) - target), atol=1e-14)


def test_inverse_sigmoid_and_its_gradient_at_the_edges(jt):
    from frameworks.jittor_rtdetr.box_ops import inverse_sigmoid

    x = np.asarray([0.0, 1e-5, 0.25, 1 - 1e-5, 1.0, -0.1, 1.1])
    value, slope = gradient(jt, inverse_sigmoid, x)
    np.testing.assert_allclose(value, closed_forms.logit(x), atol=1e-11)
    # 1 / x where x is above eps, 1 / (1 - x) where 1 - x is, both zero outside [0, 1]
    np.testing.assert_allclose(slope[[0, 2, 4, 5, 6]], [1.0, 4 + 4 / 3, 1.0, 0.0, 0.0], rtol=1e-12)
    assert slope[1] == pytest.approx(1e5 + 1, rel=1e-5), "PyTorch passes the gradient at the bound itself"


def test_box_ops(jt):
    from frameworks.jittor_rtdetr import box_ops

    boxes = np.concatenate([rng(3).uniform(0.2, 0.8, (12, 2)), rng(4).uniform(0.05, 0.5, (12, 2))], 1)
    a, b = closed_forms.corners(boxes[:6]), closed_forms.corners(boxes[6:])
    a[0], b[1] = b[0], a[1] + 2.0  # one pair identical, one far apart
    there = box_ops.cxcywh_to_xyxy(jt.array(boxes))
    np.testing.assert_allclose(there.numpy(), closed_forms.corners(boxes), atol=1e-15)
    np.testing.assert_allclose(box_ops.xyxy_to_cxcywh(there).numpy(), boxes, atol=1e-15)
    wanted = np.asarray([closed_forms.overlap(x, y) for x, y in zip(a, b, strict=True)])
    np.testing.assert_allclose(box_ops.iou_and_union(jt.array(a), jt.array(b))[0].numpy(), wanted[:, 0], atol=1e-13)
    np.testing.assert_allclose(box_ops.generalized_iou(jt.array(a), jt.array(b)).numpy(), wanted[:, 1], atol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_batch_norm_is_stable_and_keeps_the_unbiased_variance(jt, dtype):
    from frameworks.jittor_rtdetr.layers import BatchNorm2d

    x = rng(5).normal(300, 1, (2, 3, 2, 3)).astype(dtype)
    norm = BatchNorm2d(3)
    norm.running_mean, norm.running_var = (
        jt.array(getattr(norm, n).numpy().astype(dtype)).stop_grad() for n in ("running_mean", "running_var")
    )
    norm.weight, norm.bias = jt.array(np.ones(3, dtype)), jt.array(np.zeros(3, dtype))
    norm.is_train = True
    y = norm(jt.array(x)).numpy()
    flat = x.astype(np.float64).transpose(1, 0, 2, 3).reshape(3, -1)
    wanted = (x - flat.mean(1).reshape(3, 1, 1)) / np.sqrt(flat.var(1) + 1e-5).reshape(3, 1, 1)
    # float32: the mean of 300 is known to 3e-5; E[x^2] - E[x]^2 would be off by 2e-2
    np.testing.assert_allclose(y, wanted, atol=2e-4 if dtype == "float32" else 1e-11)
    relative = 1e-4 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(norm.running_var.numpy(), 0.9 + 0.1 * flat.var(1, ddof=1), rtol=relative)
    relative = 1e-6 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(norm.running_mean.numpy(), 0.1 * flat.mean(1), rtol=relative)
    assert norm.num_batches_tracked == 1


def test_layer_norm_subtracts_the_mean_first(jt):
    from frameworks.jittor_rtdetr.layers import LayerNorm

    x = rng(6).normal(300, 1, (2, 8)).astype(np.float32)
    exact = x.astype(np.float64)
    wanted = (exact - exact.mean(-1, keepdims=True)) / np.sqrt(exact.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(LayerNorm(8)(jt.array(x)).numpy(), wanted, atol=2e-4)


def test_topk_is_descending_with_its_indices(jt):
    x = np.asarray([[0.1, 0.9, -3.0, 0.5, 0.7], [5.0, 4.0, 3.0, 2.0, 1.0]])
    values, indices = jt.topk(jt.array(x), 3, dim=1)
    np.testing.assert_array_equal(indices.numpy(), [[1, 4, 3], [0, 1, 2]])
    np.testing.assert_array_equal(values.numpy(), np.take_along_axis(x, indices.numpy(), 1))


def test_position_embedding_and_anchors(jt):
    from frameworks.jittor_rtdetr.decoder import make_anchors
    from frameworks.jittor_rtdetr.encoder import position_embedding

    like = jt.array(np.zeros(1))
    table = position_embedding(2, 3, 8, 10000.0, like).numpy()[0]
    np.testing.assert_allclose(table, closed_forms.position_embedding(2, 3, 8, 10000.0), atol=1e-15)
    logits, valid = (v.numpy() for v in make_anchors([(80, 80), (40, 40), (20, 20)], 0.01, like))
    assert logits.dtype == np.float64 and (~valid).sum() == 316
    assert np.isposinf(logits[0, ~valid[0, :, 0]]).all() and np.isfinite(logits[0, valid[0, :, 0]]).all()
    np.testing.assert_allclose(closed_forms.sigmoid(logits[0, 81]), [1.5 / 80, 1.5 / 80, 0.05, 0.05], atol=1e-15)


SHAPES, POINTS = [(3, 4), (2, 2)], (3, 1)  # maps, and sampling points on each


@pytest.mark.parametrize(
    ("method", "closed_form"),
    [("default", closed_forms.sampled_levels), ("discrete", closed_forms.sampled_pixels)],
)
def test_sample_levels_against_a_loop(jt, method, closed_form):
    from frameworks.jittor_rtdetr.attention import sample_levels

    generator = rng(7)
    value, locations = generator.standard_normal((1, 16, 2, 3)), generator.uniform(-0.3, 1.3, (1, 3, 2, 4, 2))
    locations[0, 0], locations[0, 1] = 0.0, 1.0
    sampled = sample_levels(jt.array(value), jt.array(locations), SHAPES, POINTS, method).numpy()
    np.testing.assert_allclose(sampled, closed_form(value, locations, SHAPES, POINTS), atol=1e-13)


def test_sample_levels_gradient_against_differences(jt):
    from frameworks.jittor_rtdetr.attention import sample_levels

    generator = rng(13)
    value, locations = generator.standard_normal((1, 16, 2, 3)), generator.uniform(-0.2, 1.2, (1, 3, 2, 4, 2))
    cotangent = generator.standard_normal((1, 3, 2, 4, 3))

    def scalar(value: np.ndarray, locations: np.ndarray) -> float:
        return float((closed_forms.sampled_levels(value, locations, SHAPES, POINTS) * cotangent).sum())

    def sampled(v, where):
        return sample_levels(v, where, SHAPES, POINTS, "default") * jt.array(cotangent)

    _, grad_value, grad_locations = gradient(jt, sampled, value, locations)
    for array, found in ((value, grad_value), (locations, grad_locations)):
        for index in np.ndindex(*array.shape):
            kept = array[index]
            array[index] = kept + 1e-6
            above = scalar(value, locations)
            array[index] = kept - 1e-6
            below = scalar(value, locations)
            array[index] = kept
            assert found[index] == pytest.approx((above - below) / 2e-6, abs=1e-7)


def drawn(*counts: int):
    generator, targets = rng(8), []
    for n in counts:
        labels, centres = generator.integers(0, CLASSES, n), generator.uniform(0.3, 0.7, (n, 2))
        targets.append((labels, np.concatenate([centres, generator.uniform(0.05, 0.4, (n, 2))], 1)))
    return targets


def as_targets(jt, targets):
    from frameworks.jittor_rtdetr.denoising import Targets

    return Targets([jt.array(labels) for labels, _ in targets], [jt.array(boxes) for _, boxes in targets])


@pytest.mark.parametrize("counts", [(2, 1), (2, 0), (0, 0)])
def test_matching_and_losses_against_loops(jt, counts):
    from frameworks.jittor_rtdetr.criterion import box_losses, match, matched, matching_costs, varifocal_loss
    from frameworks.jittor_rtdetr.decoder import Prediction

    generator, targets, spec = rng(9), drawn(*counts), CriterionSpec()
    logits, boxes = generator.normal(0, 2, (2, 3, CLASSES)), generator.uniform(0.3, 0.6, (2, 3, 4))
    prediction, ours = Prediction(jt.array(logits), jt.array(boxes)), as_targets(jt, targets)
    for b, cost in enumerate(matching_costs(prediction, ours, MatcherSpec())):
        wanted = closed_forms.matching_cost(logits[b], boxes[b], *targets[b])
        np.testing.assert_allclose(cost.numpy(), wanted, atol=1e-12)
    indices, num_boxes = match(prediction, ours, MatcherSpec()).indices, max(sum(counts), 1.0)
    pairs = matched(ours, indices)
    vfl = varifocal_loss(prediction, pairs, num_boxes, spec)
    wanted = closed_forms.varifocal(logits, boxes, targets, indices, num_boxes, spec.alpha, spec.gamma)
    assert vfl.item() == pytest.approx(wanted, rel=1e-12)
    terms = [v.item() for v in box_losses(prediction, pairs, num_boxes, spec)]
    assert terms == pytest.approx(closed_forms.box_terms(boxes, targets, indices, num_boxes), rel=1e-12)


def test_denoising_layout_against_a_loop(jt):
    from frameworks.jittor_rtdetr.denoising import Noise, make_denoising_queries

    targets = drawn(2, 1)
    spec = ModelSpec(num_classes=CLASSES, decoder=DecoderSpec(num_queries=3, num_denoising=4))
    draws = rng(10)
    noise = {
        "noise/label_u": draws.uniform(0, 0.5, (2, 8)),
        "noise/new_label": draws.integers(0, CLASSES, (2, 8)),
        "noise/sign": draws.integers(0, 2, (2, 8, 4)) * 2.0 - 1,
        "noise/part": draws.random((2, 8, 4)),
    }
    given = Noise(*(jt.array(noise[f"noise/{n}"]) for n in ("label_u", "new_label", "sign", "part")))
    queries = make_denoising_queries(as_targets(jt, targets), given, spec)
    labels, boxes, blocked, positives, groups = closed_forms.denoising_layout(targets, noise, 4, 3, CLASSES)
    assert queries is not None and queries.groups == groups
    np.testing.assert_array_equal(queries.labels_BN.numpy(), labels)
    np.testing.assert_allclose(queries.boxes_unact_BN4.numpy(), boxes, atol=1e-11)
    np.testing.assert_array_equal(queries.blocked_SS.numpy(), blocked)
    assert [p.numpy().tolist() for p in queries.positive_idx] == positives


RECIPE = RecipeSpec(
    groups=(ParameterGroup("bias", lr=1e-2, weight_decay=0.0), ParameterGroup("", lr=1e-3, weight_decay=0.1))
)


def test_adamw_leaves_unused_parameters_alone(jt):
    from frameworks.jittor_rtdetr.optimizer import Optimizer, clip_gradients

    start = {n: rng(11).standard_normal(s) for n, s in {"weight": (3, 2), "bias": (2,), "unused": (4,)}.items()}
    parameters = {n: jt.array(a) for n, a in start.items()}
    optimizer, exact = Optimizer(parameters, RECIPE), {n: (start[n], 0.0, 0.0) for n in ("weight", "bias")}
    for t in range(1, 4):
        gradients = {n: rng(20 + t).standard_normal(start[n].shape) for n in exact}
        norm = np.sqrt(sum((g * g).sum() for g in gradients.values()))
        clipped, measured = clip_gradients({n: jt.array(g) for n, g in gradients.items()}, 0.1)
        assert measured.item() == pytest.approx(norm, rel=1e-14)
        optimizer.step(clipped, [1e-2, 1e-3])
        for n, g in gradients.items():
            rate, decay = (1e-2, 0.0) if n == "bias" else (1e-3, 0.1)
            small = g * (0.1 / (norm + 1e-6))
            exact[n] = closed_forms.adamw_step(exact[n][0], small, *exact[n][1:], t, rate, decay)
    state = optimizer.state()
    for n, (p, m, v) in exact.items():
        np.testing.assert_allclose(parameters[n].numpy(), p, rtol=1e-13)
        np.testing.assert_allclose(state[f"moment1/{n}"].numpy(), m, rtol=1e-12)
        np.testing.assert_allclose(state[f"moment2/{n}"].numpy(), v, rtol=1e-12)
        assert state[f"steps/{n}"].item() == 3
    np.testing.assert_array_equal(parameters["unused"].numpy(), start["unused"])
    assert not any(n.endswith("unused") for n in state)


def test_sgd_goes_on_from_its_state_and_gradients_add_up(jt):
    from frameworks.jittor_rtdetr.optimizer import Optimizer, add_gradients

    moment, exact = np.zeros((3, 2)), np.ones((3, 2))
    parameters = {"weight": jt.array(exact)}
    for t in range(3):
        parts = [rng(30 + 2 * t + k).standard_normal((3, 2)) for k in range(2)]
        first = add_gradients({}, {"weight": jt.array(parts[0])}, 0.5)
        total = add_gradients(first, {"weight": jt.array(parts[1])}, 0.5)
        optimizer = Optimizer(parameters, replace(RECIPE, optimizer="sgd", momentum=0.9))
        optimizer.load({"moment1/weight": jt.array(moment)} if t else {})
        optimizer.step(total, [1e-2, 1e-3])
        moment = 0.9 * moment + (parts[0] + parts[1]) / 2 + 0.1 * exact
        exact = exact - 1e-3 * moment
        ((name, found),) = optimizer.state().items()
        assert name == "moment1/weight" and found.numpy() == pytest.approx(moment, rel=1e-13)
        np.testing.assert_allclose(parameters["weight"].numpy(), exact, rtol=1e-13)


def test_average(jt):
    from frameworks.jittor_rtdetr.ema import ModelEMA
    from frameworks.jittor_rtdetr.layers import BatchNorm2d

    model = BatchNorm2d(2)
    ema = ModelEMA(model)
    model.weight.update(jt.array(np.asarray([3.0, 3.0], np.float32)))
    model.running_mean.update(jt.array(np.asarray([8.0, 8.0], np.float32)))
    ema.update(model, 0.75)
    averages = {n: v.numpy().tolist() for n, v in ema.state().items()}
    assert averages == {"weight": [1.5] * 2, "bias": [0] * 2, "running_mean": [2] * 2, "running_var": [1] * 2}
    assert model.weight.numpy().tolist() == [3.0, 3.0]


def test_full_sum_keeps_float32_digits(jt):
    """As many terms as the varifocal loss of four images has; one running sum would be 1e-4 off."""
    from frameworks.jittor_rtdetr.operators import full_sum

    values = np.random.default_rng(0).random((4, 300, 80)).astype(np.float32) * 1e-3 + 0.1
    exact = values.astype(np.float64).sum()
    plain = abs(float(jt.array(values).sum().item()) / exact - 1)
    ours = abs(float(full_sum(jt.array(values)).item()) / exact - 1)
    assert ours < 1e-6 < plain, f"full_sum {ours:.1e}, one running sum {plain:.1e}"
