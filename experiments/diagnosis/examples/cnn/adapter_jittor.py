"""The small CNN in Jittor, for experiments/diagnose.py."""

from experiments.diagnosis.jittor_model import JittorModel  # first: it starts Jittor

from cnn_jittor import SmallCNN
from jittor import nn


def step(model, inputs):
    scores = model(inputs["images"])
    return {"scores": scores, "loss": nn.cross_entropy_loss(scores, inputs["labels"])}


CNN = JittorModel(SmallCNN, step)
