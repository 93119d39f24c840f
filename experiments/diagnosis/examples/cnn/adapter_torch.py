"""The small CNN in PyTorch, for experiments/diagnose.py."""

import numpy as np
import torch.nn.functional as F
from cnn_torch import SmallCNN

from experiments.diagnosis.torch_model import TorchModel


def inputs():
    rng = np.random.default_rng(0)
    return {"images": rng.normal(size=(4, 3, 16, 16)), "labels": np.array([0, 3, 1, 4])}


def step(model, inputs):
    scores = model(inputs["images"])
    return {"scores": scores, "loss": F.cross_entropy(scores, inputs["labels"])}


CNN = TorchModel(SmallCNN, step, inputs)
