"""The small transformer in PyTorch, for experiments/diagnose.py."""

import numpy as np
import torch.nn.functional as F
from transformer_torch import SmallTransformer

from experiments.diagnosis.torch_model import TorchModel


def inputs():
    tokens = np.random.default_rng(0).integers(0, 11, (3, 9))
    return {"tokens": tokens[:, :-1], "next": tokens[:, 1:]}


def step(model, inputs):
    scores = model(inputs["tokens"])
    return {"scores": scores, "loss": F.cross_entropy(scores.flatten(0, 1), inputs["next"].flatten())}


TRANSFORMER = TorchModel(SmallTransformer, step, inputs)
