"""The parameters that no loss reaches are those for which PyTorch has no gradient."""

from dataclasses import replace

import numpy as np
import pytest

import frameworks
from frameworks.config import ExperimentSpec, preset
from frameworks.protocol import Case
from frameworks.shared import drawn_inputs
from frameworks.shared.noise import denoising_count
from frameworks.state.parameters import state_shapes, trainable_names
from frameworks.state.reached import unreached

COUNTS = (2, 1)


def changed(layers: int, denoising: int, stages: tuple[int, ...], **criterion) -> ExperimentSpec:
    spec = preset("tiny")
    model = replace(
        spec.model,
        backbone=replace(spec.model.backbone, return_idx=stages),
        encoder=replace(spec.model.encoder, use_encoder_idx=()),
        decoder=replace(
            spec.model.decoder, num_layers=layers, num_denoising=denoising, num_points=(4,) * len(stages)
        ),
    )
    return replace(spec, model=model, criterion=replace(spec.criterion, **criterion))


@pytest.mark.parametrize("aux_loss", [True, False])
@pytest.mark.parametrize("losses", [("vfl", "boxes"), ("focal",), ("boxes",)])
@pytest.mark.parametrize(("layers", "denoising", "stages"), [(1, 0, (1, 2)), (3, 0, (2, 3)), (3, 10, (0, 1))])
def test_they_are_those_without_a_gradient_in_pytorch(layers, denoising, stages, losses, aux_loss):
    spec = changed(layers, denoising, stages, losses=losses, aux_loss=aux_loss)
    model, seed = spec.model, "reached"
    inputs = {"images": drawn_inputs.images(2, 64, 64, seed)} | drawn_inputs.targets(seed, COUNTS)
    count = denoising_count(model, np.asarray(COUNTS))
    inputs |= drawn_inputs.noise(2, count, seed) if count else {}
    weights = drawn_inputs.weights(state_shapes(model), seed)
    case = Case("loss", spec, training=True)
    trace = frameworks.load("torch").trace(case, weights, inputs, device="cpu", dtype="float32")
    without = {name for name in trainable_names(model) if f"gradient/{name}" not in trace}
    begins = unreached(model, spec.criterion, denoised=count > 0)
    assert without == {name for name in trainable_names(model) if name.startswith(begins)}
