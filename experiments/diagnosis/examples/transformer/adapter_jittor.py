"""The small transformer in Jittor, for experiments/diagnose.py."""

from experiments.diagnosis.jittor_model import JittorModel  # first: it starts Jittor

from jittor import nn
from transformer_jittor import SmallTransformer


def step(model, inputs):
    scores = model(inputs["tokens"])
    return {"scores": scores, "loss": nn.cross_entropy_loss(scores.flatten(0, 1), inputs["next"].flatten())}


TRANSFORMER = JittorModel(SmallTransformer, step)
