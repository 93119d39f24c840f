"""Geometry and attention of the PyTorch twin against hand-computed numbers and NumPy loops, in float64."""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frameworks.config import preset
from frameworks.errors import UserError
from frameworks.state.initialisation import initial_weights
from frameworks.tests import closed_forms
from frameworks.torch_rtdetr import box_ops
from frameworks.torch_rtdetr.attention import MultiheadAttention, MultiscaleDeformableAttention, sample_levels
from frameworks.torch_rtdetr.decoder import make_anchors
from frameworks.torch_rtdetr.encoder import position_embedding
from frameworks.torch_rtdetr.exchange import build, set_training, state_arrays, to_numpy
from frameworks.torch_rtdetr.layers import BatchNorm2d, FrozenBatchNorm2d, activation

CALM = settings(derandomize=True, deadline=None, max_examples=100)
COORDINATE = st.floats(0.0, 1.0, allow_nan=False)
SIDE = st.floats(0.01, 1.0, allow_nan=False)
BOX = st.tuples(COORDINATE, COORDINATE, SIDE, SIDE)  # cxcywh
LIKE = torch.zeros(1, dtype=torch.float64)


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# (a, b, IoU, GIoU) by hand
OVERLAPS = [
    ((0, 0, 2, 2), (0, 0, 2, 2), 1.0, 1.0),
    ((0, 0, 2, 2), (1, 0, 3, 2), 2 / 6, 2 / 6),  # the hull has no empty part
    ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7, 1 / 7 - 2 / 9),
    ((0, 0, 1, 1), (2, 0, 3, 1), 0.0, -1 / 3),
    ((0, 0, 1, 1), (1, 0, 2, 1), 0.0, 0.0),  # they touch
    ((0, 0, 4, 4), (1, 1, 2, 2), 1 / 16, 1 / 16),
    ((0, 0, 1, 1), (9, 9, 10, 10), 0.0, -98 / 100),
]


@pytest.mark.parametrize(("a", "b", "iou", "giou"), OVERLAPS)
def test_overlaps_by_hand(a, b, iou, giou):
    a_xyxy, b_xyxy = tensor(a), tensor(b)
    assert float(box_ops.iou_and_union(a_xyxy, b_xyxy)[0]) == pytest.approx(iou, abs=1e-15)
    assert float(box_ops.generalized_iou(a_xyxy, b_xyxy)) == pytest.approx(giou, abs=1e-15)
    assert float(box_ops.generalized_iou(b_xyxy, a_xyxy)) == pytest.approx(giou, abs=1e-15)


def test_overlaps_broadcast_to_all_pairs():
    a, b = tensor([o[0] for o in OVERLAPS]), tensor([o[1] for o in OVERLAPS])
    pairs = box_ops.generalized_iou(a[:, None], b[None])
    assert pairs.shape == (len(a), len(b))
    for i, j in np.ndindex(*pairs.shape):
        assert float(pairs[i, j]) == pytest.approx(closed_forms.overlap(a[i].numpy(), b[j].numpy())[1])


@CALM
@given(a=BOX, b=BOX)
def test_generalized_iou_properties(a, b):
    a_xyxy, b_xyxy = box_ops.cxcywh_to_xyxy(tensor(a)), box_ops.cxcywh_to_xyxy(tensor(b))
    giou, iou = float(box_ops.generalized_iou(a_xyxy, b_xyxy)), float(box_ops.iou_and_union(a_xyxy, b_xyxy)[0])
    assert -1 <= giou <= iou + 1e-12 and 0 <= iou <= 1 + 1e-12
    assert giou == pytest.approx(float(box_ops.generalized_iou(b_xyxy, a_xyxy)), abs=1e-12)
    assert giou == pytest.approx(closed_forms.overlap(a_xyxy.numpy(), b_xyxy.numpy())[1], abs=1e-12)
    assert float(box_ops.generalized_iou(a_xyxy, a_xyxy)) == pytest.approx(1)


@CALM
@given(box=BOX)
def test_conversions_are_each_others_inverse(box):
    there = box_ops.cxcywh_to_xyxy(tensor(box))
    assert box_ops.xyxy_to_cxcywh(there).tolist() == pytest.approx(list(box), abs=1e-12)
    assert there.tolist() == pytest.approx(closed_forms.corners(np.asarray(box)).tolist(), abs=1e-12)
    assert float(box_ops.box_area(there)) == pytest.approx(box[2] * box[3], abs=1e-12)


@CALM
@given(x=st.floats(-0.5, 1.5, allow_nan=False))
def test_inverse_sigmoid_is_the_clipped_logit(x):
    value = float(box_ops.inverse_sigmoid(tensor(x)))
    assert value == pytest.approx(float(closed_forms.logit(np.asarray(x))), abs=1e-9)
    assert abs(value) <= 11.5130  # docs/pitfalls.md D.2
    if 1e-5 <= x <= 1 - 1e-5:
        assert float(torch.sigmoid(tensor(value))) == pytest.approx(x, abs=1e-12)


def test_inverse_sigmoid_gradients_at_the_edges():
    x = tensor([0.0, 5e-6, 0.5, 1.0, -0.1, 1.1]).requires_grad_()
    (gradient,) = torch.autograd.grad(box_ops.inverse_sigmoid(x).sum(), [x])
    # inside: 1/x + 1/(1-x) where a term is not clipped; PyTorch passes the gradient at a bound itself
    assert gradient.tolist() == pytest.approx([1.0, 1 / (1 - 5e-6), 4.0, 1.0, 0.0, 0.0])


@pytest.mark.parametrize(("h", "w"), [(2, 2), (3, 5), (5, 2)])
def test_position_embedding_against_a_loop(h, w):
    table = position_embedding(h, w, 16, 10000.0, LIKE)
    assert table.shape == (1, h * w, 16) and table.dtype == torch.float64
    np.testing.assert_allclose(table[0], closed_forms.position_embedding(h, w, 16, 10000.0), atol=1e-14)


def test_anchors_at_640():
    shapes = [(80, 80), (40, 40), (20, 20)]
    logits, valid = make_anchors(shapes, 0.01, LIKE)
    assert logits.shape == (1, 8400, 4) and valid.shape == (1, 8400, 1)
    assert int((~valid).sum()) == 316
    ring = torch.ones(80, 80, dtype=torch.bool)
    ring[1:-1, 1:-1] = False
    assert torch.equal(~valid[0, :6400, 0], ring.flatten()), "invalid is the outer ring of P3"
    assert torch.isposinf(logits[~valid.expand_as(logits)]).all()
    assert torch.isfinite(logits[valid.expand_as(logits)]).all()


def test_anchors_are_centres_and_sides():
    logits, valid = make_anchors([(2, 3), (1, 2)], 0.01, LIKE)
    assert valid.all()
    wanted = [((x + 0.5) / 3, (y + 0.5) / 2, 0.05, 0.05) for y in range(2) for x in range(3)]
    wanted += [(0.25, 0.5, 0.1, 0.1), (0.75, 0.5, 0.1, 0.1)]
    np.testing.assert_allclose(logits[0].sigmoid(), wanted, atol=1e-12)


@pytest.mark.parametrize(
    ("shapes", "points"), [([(3, 4)], (2,)), ([(2, 3), (2, 2), (1, 3)], (2, 2, 2)), ([(2, 3), (1, 1)], (1, 4))]
)
@pytest.mark.parametrize(
    ("method", "closed_form"),
    [("default", closed_forms.sampled_levels), ("discrete", closed_forms.sampled_pixels)],
)
def test_sample_levels_against_a_loop(shapes, points, method, closed_form):
    rng = np.random.Generator(np.random.PCG64(5))
    total = sum(h * w for h, w in shapes)
    value = rng.standard_normal((2, total, 2, 3))
    locations = rng.uniform(-0.3, 1.3, (2, 4, 2, sum(points), 2))  # some outside
    locations[0, 0] = 0.0  # a corner
    locations[0, 1] = 1.0
    result = sample_levels(torch.from_numpy(value), torch.from_numpy(locations), shapes, points, method)
    np.testing.assert_allclose(result, closed_form(value, locations, shapes, points), atol=1e-13)


def test_discrete_sampling_refuses_what_the_official_code_cannot_read():
    value, locations = torch.zeros(1, 6, 1, 2), torch.zeros(1, 1, 1, 1, 2)
    with pytest.raises(UserError, match="3 x 2"):
        sample_levels(value, locations, [(3, 2)], (1,), "discrete")


@pytest.mark.parametrize("points", [(2, 2), (3, 1)])
def test_deformable_attention_against_loops(points):
    torch.manual_seed(0)
    module, shapes = MultiscaleDeformableAttention(8, 2, points, "default").double(), [(3, 2), (2, 2)]
    query, memory = torch.randn(2, 3, 8).double(), torch.randn(2, 10, 8).double()
    reference = torch.rand(2, 3, 4).double()
    linear = state_arrays(module)

    def apply(name, x):
        return np.asarray(x) @ linear[f"{name}.weight"].T + linear[f"{name}.bias"]

    offsets = apply("sampling_offsets", query).reshape(2, 3, 2, 4, 2)
    scores = np.exp(apply("attention_weights", query).reshape(2, 3, 2, 4))
    scores /= scores.sum(-1, keepdims=True)  # jointly over levels and points
    box = reference.numpy()[:, :, None, None]
    counts = np.repeat(points, points)[:, None]  # of the level that each point belongs to
    locations = box[..., :2] + offsets / counts * box[..., 2:] * 0.5
    value = apply("value_proj", memory).reshape(2, 10, 2, 4)
    sampled = closed_forms.sampled_levels(value, locations, shapes, points)
    mixed = np.einsum("bqhkd,bqhk->bqhd", sampled, scores).reshape(2, 3, 8)
    result = module(query, reference, memory, shapes)
    np.testing.assert_allclose(result.detach(), apply("output_proj", mixed), atol=1e-13)


@pytest.mark.parametrize("masked", [False, True])
def test_self_attention_is_torchs_own_module(masked):
    torch.manual_seed(1)
    twin, library = MultiheadAttention(8, 2).double(), torch.nn.MultiheadAttention(8, 2, batch_first=True).double()
    assert twin.state_dict().keys() == library.state_dict().keys()
    twin.load_state_dict(library.state_dict())
    query, value = torch.randn(2, 5, 8).double(), torch.randn(2, 5, 8).double()
    blocked = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1) if masked else None
    wanted, _ = library(query, query, value, attn_mask=blocked)
    torch.testing.assert_close(twin(query, query, value, blocked), wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["relu", "silu", "gelu"])
def test_activations(name):
    x = np.linspace(-6, 6, 25)
    wanted = {"relu": np.maximum(x, 0), "silu": x * closed_forms.sigmoid(x), "gelu": closed_forms.gelu(x)[0]}
    np.testing.assert_allclose(activation(name, torch.from_numpy(x)), wanted[name], atol=1e-14)


def test_batch_norm_keeps_the_unbiased_variance():
    x = np.random.Generator(np.random.PCG64(2)).normal(300, 1, (2, 3, 2, 3))
    norm = BatchNorm2d(3).double()
    y = norm(torch.from_numpy(x))
    flat = x.transpose(1, 0, 2, 3).reshape(3, -1)
    scale = np.sqrt(flat.var(1) + 1e-5)
    np.testing.assert_allclose(y.detach(), (x - flat.mean(1).reshape(3, 1, 1)) / scale.reshape(3, 1, 1), atol=1e-11)
    state = state_arrays(norm)
    np.testing.assert_allclose(state["running_var"], 0.9 + 0.1 * flat.var(1, ddof=1), rtol=1e-12)
    np.testing.assert_allclose(state["running_mean"], 0.1 * flat.mean(1), rtol=1e-12)


def tiny_model():
    return build(preset("tiny").model, initial_weights(preset("tiny").model, 0), "cpu", torch.float64)


@pytest.mark.parametrize("norm", [BatchNorm2d, FrozenBatchNorm2d])
def test_the_gradient_of_a_norm_of_one_image(norm):
    """PyTorch's own is wrong by more than 100 % where the map is flattened to tokens, as it is in the decoder."""
    x_BCHW = torch.randn(1, 8, 6, 4, dtype=torch.float64, requires_grad=True)
    y_BCHW, cotangent_BND = norm(8).double()(x_BCHW), torch.randn(1, 24, 8, dtype=torch.float64)
    (found,) = torch.autograd.grad(y_BCHW.flatten(2).transpose(1, 2), x_BCHW, cotangent_BND, retain_graph=True)
    cotangent_BCHW = cotangent_BND.transpose(1, 2).contiguous().view(1, 8, 6, 4)
    (expected,) = torch.autograd.grad(y_BCHW, x_BCHW, cotangent_BCHW)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_weights_are_loaded_strictly():
    spec = preset("tiny").model
    weights = initial_weights(spec, 0)
    name = "decoder.enc_output.0.bias"
    faults = [
        ({n: a for n, a in weights.items() if n != name}, name),
        (weights | {"decoder.unknown": np.zeros(1)}, "decoder.unknown"),
        (weights | {name: np.zeros(1, np.float32)}, re.escape(f"{name}: weights have shape (1,), the model (32,)")),
    ]
    for fault, message in faults:
        with pytest.raises(ValueError, match=message):
            build(spec, fault, "cpu", torch.float32)


def test_arrays_taken_from_a_model_are_copies():
    """``state()`` of a trainer in this process would otherwise change under its owner at the next step."""
    model = tiny_model()
    taken = state_arrays(model)
    name = "decoder.enc_score_head.bias"
    before = taken[name].copy()
    with torch.no_grad():
        model.get_parameter(name).add_(1.0)
    np.testing.assert_array_equal(taken[name], before)
    source = torch.zeros(2)
    assert not np.shares_memory(to_numpy(source), source.numpy())


def test_training_mode_reaches_every_module():
    model = tiny_model()
    for training in (True, False):
        set_training(model, training)
        assert {module.training for module in model.modules()} == {training}


def test_normalised_box_of_an_invalid_anchor_is_one():
    logits, valid = make_anchors([(80, 80)], 0.01, LIKE)
    first = logits[0, 0].sigmoid()
    assert not valid[0, 0] and first.tolist() == [1.0, 1.0, 1.0, 1.0]  # docs/pitfalls.md C.2
    assert math.isinf(logits[0, 0, 2])
