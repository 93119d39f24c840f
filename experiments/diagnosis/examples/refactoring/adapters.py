"""The gated network before and after its refactoring, both in PyTorch, for experiments/diagnose.py."""

import numpy as np
import torch.nn.functional as F
from after import Network as After
from before import Network as Before

from experiments.diagnosis.torch_model import TorchModel


def inputs():
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(10, 6)), "y": rng.normal(size=(10, 1))}


def step(model, inputs):
    predicted = model(inputs["x"])
    return {"predicted": predicted, "loss": F.mse_loss(predicted, inputs["y"])}


BEFORE, AFTER = TorchModel(Before, step, inputs), TorchModel(After, step)
