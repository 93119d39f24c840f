"""Noise of the denoising queries: number, ranges, reproducibility."""

from dataclasses import replace

import numpy as np
import pytest

from frameworks.config import ModelSpec, preset
from frameworks.shared.noise import denoising_count, draw_noise

R18 = ModelSpec()
OFF = replace(R18, decoder=replace(R18.decoder, num_denoising=0))


def stream(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@pytest.mark.parametrize(
    ("counts", "total"),
    [
        ([5, 3], 200),  # 20 groups of 5 positives and 5 negatives
        ([1], 200),
        ([7, 0, 2], 196),  # 14 groups
        ([100], 200),
        ([150, 1], 300),  # one group at least: more than num_denoising positives
        ([0, 0], 0),
        ([], 0),
    ],
)
def test_count_is_the_largest_image_times_two_times_groups(counts, total):
    assert denoising_count(R18, np.asarray(counts, np.int64)) == total


def test_v2_has_one_pair_where_no_image_has_a_target():
    v2 = replace(R18, version="v2")
    assert denoising_count(v2, np.asarray([0, 0])) == 2 and denoising_count(v2, np.asarray([5, 3])) == 200
    assert denoising_count(replace(v2, decoder=OFF.decoder), np.asarray([0, 0])) == 0


def test_nothing_is_drawn_when_there_is_nothing_to_repair():
    generator = stream()
    before = generator.bit_generator.state
    assert draw_noise(OFF, np.asarray([5, 3]), generator) == {}
    assert draw_noise(R18, np.asarray([0, 0]), generator) == {}
    assert generator.bit_generator.state == before


def test_names_shapes_and_dtypes():
    noise = draw_noise(R18, np.asarray([5, 3]), stream())
    described = {name: (array.shape, str(array.dtype)) for name, array in noise.items()}
    assert described == {
        "noise/label_u": ((2, 200), "float32"),
        "noise/new_label": ((2, 200), "int64"),
        "noise/sign": ((2, 200, 4), "float32"),
        "noise/part": ((2, 200, 4), "float32"),
    }


def test_ranges():
    noise = draw_noise(R18, np.asarray([9] * 40), stream(3))
    for name in ("noise/label_u", "noise/part"):
        assert noise[name].min() >= 0 and noise[name].max() < 1
        assert abs(noise[name].mean() - 0.5) < 0.02
    assert set(np.unique(noise["noise/sign"])) == {-1.0, 1.0}
    assert abs(noise["noise/sign"].mean()) < 0.05
    assert set(np.unique(noise["noise/new_label"])) == set(range(R18.num_classes))


def test_a_seed_decides_everything():
    first, again, other = (draw_noise(R18, np.asarray([4]), stream(seed)) for seed in (1, 1, 2))
    assert all(first[n].tobytes() == again[n].tobytes() for n in first)
    assert all(first[n].tobytes() != other[n].tobytes() for n in first)


def test_count_is_what_the_layout_of_the_twins_has():
    from frameworks.torch_rtdetr.denoising import denoising_groups

    for spec in (R18, preset("tiny").model):
        for largest in (1, 2, 3, 7, 10, 99, 100, 101):
            groups = denoising_groups(spec.decoder.num_denoising, largest)
            assert denoising_count(spec, np.asarray([largest, 1])) == largest * 2 * groups
