"""Initial weights: one random stream per name, and the distributions of the official model."""

import math
import subprocess
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest

from frameworks.config import DecoderSpec, ModelSpec, preset
from frameworks.state.initialisation import initial_weights, sampling_offset_bias
from frameworks.state.parameters import state_shapes
from frameworks.workers.client import REPOSITORY

TINY = preset("tiny").model
WEIGHTS = initial_weights(TINY, 7)


def named(*endings: str) -> list[str]:
    names = [n for n in WEIGHTS if n.endswith(endings)]
    assert names, f"no weight ends with {endings}"
    return names


def test_names_shapes_and_dtypes_are_canonical():
    assert {n: a.shape for n, a in WEIGHTS.items()} == state_shapes(TINY)
    assert {str(a.dtype) for n, a in WEIGHTS.items() if not n.endswith("num_batches_tracked")} == {"float32"}
    assert all(WEIGHTS[n].dtype == np.int64 and WEIGHTS[n] == 0 for n in named("num_batches_tracked"))


def test_same_seed_same_bits_other_seed_other_weights():
    again, other = initial_weights(TINY, 7), initial_weights(TINY, 8)
    assert all(WEIGHTS[n].tobytes() == again[n].tobytes() for n in WEIGHTS)
    drawn = [n for n in WEIGHTS if np.unique(WEIGHTS[n]).size > 2 and not n.endswith("sampling_offsets.bias")]
    assert len(drawn) > 60
    assert all(not np.array_equal(WEIGHTS[n], other[n]) for n in drawn)


def test_same_bits_in_another_process():
    name = "decoder.enc_output.0.weight"
    code = (
        "import zlib\nfrom frameworks.state.initialisation import initial_weights\n"
        "from frameworks.config import preset\n"
        f"print(zlib.crc32(initial_weights(preset('tiny').model, 7)[{name!r}].tobytes()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) == zlib.crc32(WEIGHTS[name].tobytes())


def test_every_name_has_a_stream_of_its_own():
    names = named("dec_score_head.0.weight", "dec_score_head.1.weight")
    assert not np.array_equal(WEIGHTS[names[0]], WEIGHTS[names[1]])


@pytest.mark.parametrize(
    "changed",
    [
        replace(TINY, decoder=replace(TINY.decoder, num_layers=3)),
        replace(TINY, decoder=replace(TINY.decoder, num_denoising=0)),
        replace(TINY, backbone=replace(TINY.backbone, blocks=(2, 2, 2, 2))),
        replace(TINY, encoder=replace(TINY.encoder, num_encoder_layers=2)),
    ],
    ids=["decoder layer", "no denoising", "blocks", "encoder layer"],
)
def test_adding_a_module_leaves_every_other_weight(changed):
    weights = initial_weights(changed, 7)
    common = weights.keys() & WEIGHTS.keys()
    assert common != weights.keys() or common != WEIGHTS.keys()
    assert all(weights[n].tobytes() == WEIGHTS[n].tobytes() for n in common)


def check_uniform(name: str, bound: float) -> None:
    """Within the bound, close to it, and with the variance of a uniform distribution."""
    value = WEIGHTS[name].astype(np.float64)
    assert np.abs(value).max() <= bound * (1 + 1e-6), name
    if value.size >= 200:
        assert np.abs(value).max() > 0.95 * bound, name
        assert abs(value.mean()) < 4 * bound / math.sqrt(3 * value.size), name
        assert value.var() == pytest.approx(bound**2 / 3, rel=8 / math.sqrt(value.size)), name


def test_default_weights_are_uniform_within_one_over_root_fan_in():
    for name in named(".conv.weight", "linear1.weight", "linear2.weight", "out_proj.weight", "score_head.0.weight"):
        check_uniform(name, 1 / math.sqrt(np.prod(WEIGHTS[name].shape[1:])))
    check_uniform("encoder.input_proj.0.0.weight", 1 / math.sqrt(TINY.backbone.out_channels[0]))
    check_uniform("decoder.enc_bbox_head.layers.0.weight", 1 / math.sqrt(TINY.decoder.hidden_dim))


def test_default_biases_are_uniform_within_one_over_root_fan_in():
    for name in named("linear1.bias", "linear2.bias", "enc_output.0.bias", "query_pos_head.layers.0.bias"):
        fan_in = WEIGHTS[name.replace(".bias", ".weight")].shape[1]
        check_uniform(name, 1 / math.sqrt(fan_in))
        assert np.unique(WEIGHTS[name]).size > 1


def test_xavier_weights():
    d = TINY.encoder.hidden_dim
    for name in named("in_proj_weight"):
        check_uniform(name, math.sqrt(6 / (3 * d + d)))
    for name in named("value_proj.weight", "output_proj.weight", "enc_output.0.weight"):
        check_uniform(name, math.sqrt(6 / (2 * d)))
    check_uniform("decoder.query_pos_head.layers.0.weight", math.sqrt(6 / (4 + 2 * d)))
    check_uniform("decoder.query_pos_head.layers.1.weight", math.sqrt(6 / (3 * d)))


def test_zeros_ones_and_identity_norms():
    attention = named(
        "sampling_offsets.weight", "attention_weights.weight", "attention_weights.bias", "in_proj_bias"
    )
    attention += named("out_proj.bias", "value_proj.bias", "output_proj.bias")
    norms = named("running_mean", "norm.bias", "norm1.bias", "enc_output.1.bias")
    heads = named("bbox_head.layers.2.weight", "bbox_head.layers.2.bias", "bbox_head.1.layers.2.weight")
    zero = [*attention, *norms, *heads]
    assert all(not WEIGHTS[n].any() for n in zero)
    one = named("running_var", "norm.weight", "norm3.weight", "enc_output.1.weight", "input_proj.2.1.weight")
    assert all((WEIGHTS[n] == 1).all() for n in one)


def test_only_the_last_box_layer_is_zero():
    for name in named("bbox_head.layers.1.weight", "bbox_head.0.layers.0.weight"):
        assert np.abs(WEIGHTS[name]).min() > 0


def test_every_class_starts_at_one_percent():
    for name in named("enc_score_head.bias", "dec_score_head.0.bias", "dec_score_head.1.bias"):
        np.testing.assert_allclose(1 / (1 + np.exp(-WEIGHTS[name].astype(np.float64))), 0.01, rtol=1e-6)
    np.testing.assert_allclose(WEIGHTS["decoder.enc_score_head.bias"], -4.59512, atol=1e-5)  # docs/pitfalls.md D.10


def test_class_embedding_is_normal_with_a_zero_padding_row():
    table = WEIGHTS["decoder.denoising_class_embed.weight"]
    assert table.shape[0] == TINY.num_classes + 1
    assert not table[-1].any()
    assert table[:-1].std() == pytest.approx(1, abs=0.06) and abs(table[:-1].mean()) < 0.08
    assert np.abs(table[:-1]).max() > 2.5


def test_sampling_offsets_point_in_eight_directions():
    spec = ModelSpec(decoder=DecoderSpec(nhead=8, num_points=(4, 4, 4)))
    bias = sampling_offset_bias(spec).reshape(8, 3, 4, 2)
    # cos and sin of 0, 45, ... degrees over the larger of the two
    compass = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    for head, (x, y) in enumerate(compass):
        for level in range(3):
            for point in range(4):
                wanted = (x * (point + 1), y * (point + 1))
                np.testing.assert_allclose(bias[head, level, point], wanted, atol=1e-12)


def test_sampling_offsets_reach_the_weights():
    stored = WEIGHTS["decoder.decoder.layers.1.cross_attn.sampling_offsets.bias"]
    np.testing.assert_array_equal(stored, sampling_offset_bias(TINY).astype(np.float32))
    assert np.abs(stored).max() == max(TINY.decoder.num_points)


@pytest.mark.parametrize(
    ("name", "fan"), [("rtdetrv2_hgnetv2_l", "in"), ("rtdetr_dla34", "out"), ("rtdetr_regnet", "out")]
)
def test_kaiming_deviations_of_the_other_backbones(name: str, fan: str):
    """Kernels with many weights and unequal fans have the variance 2 / fan."""
    checked = 0
    for name_, array in initial_weights(preset(name).model, 0).items():
        if name_.startswith("backbone.") and array.ndim == 4 and array.size > 20_000:
            inputs, outputs = math.prod(array.shape[1:]), array.shape[0] * math.prod(array.shape[2:])
            if inputs != outputs:
                expected = 2 / (inputs if fan == "in" else outputs)
                assert array.var() == pytest.approx(expected, rel=8 / math.sqrt(array.size)), name_
                checked += 1
    assert checked > 5
