"""A package with the layout of the official code, around the PyTorch twin: src.core.YAMLConfig, configs/*.yml.

Written for tests from what is known of the layout: ``YAMLConfig(path)`` has ``yaml_cfg``, from which ``model``,
``criterion`` and ``ema`` are built when they are first asked for.
"""

from pathlib import Path

CORE = """
import copy

import torch
import yaml

from frameworks.config import preset
from frameworks.torch_rtdetr.criterion import criterion
from frameworks.torch_rtdetr.denoising import Targets
from frameworks.torch_rtdetr.model import RTDETR


class Model(RTDETR):
    def forward(self, images, targets=None):
        outputs = super().forward(images)
        last = outputs.layers[-1]
        return {"pred_logits": last.logits, "pred_boxes": last.boxes_cxcywh * SCALE, "outputs": outputs}


class Criterion(torch.nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.spec = spec

    def forward(self, outputs, targets):
        given = Targets([t["labels"] for t in targets], [t["boxes"] for t in targets])
        return criterion(outputs["outputs"], given, self.spec)[0]


class Average:
    def __init__(self, model):
        self.module = copy.deepcopy(model).eval()

    def update(self, model):
        with torch.no_grad():
            for mine, other in zip(self.module.state_dict().values(), model.state_dict().values(), strict=True):
                mine.copy_(other)


class YAMLConfig:
    def __init__(self, path):
        with open(path) as file:
            self.yaml_cfg = yaml.safe_load(file)
        self._model = None

    @property
    def model(self):
        section = self.yaml_cfg["PResNet"]
        assert section["pretrained"] is False, "a benchmark downloads nothing"
        assert self.yaml_cfg["RTDETR"]["multi_scale"] is None and self.yaml_cfg["eval_spatial_size"] is None
        if self._model is None:
            self._model = Model(preset(self.yaml_cfg["preset"]).model)
        return self._model

    @property
    def criterion(self):
        return Criterion(preset(self.yaml_cfg["preset"]).criterion)

    @property
    def ema(self):
        return Average(self.model)
"""


def write_checkout(folder: Path, scale: float = 1.0) -> Path:
    """Write the package for the preset ``tiny`` into ``folder``; another ``scale`` makes it another model."""
    (folder / "src/core").mkdir(parents=True)
    (folder / "configs/rtdetr").mkdir(parents=True)
    (folder / "src/__init__.py").write_text("")
    (folder / "src/core/__init__.py").write_text(CORE.replace("SCALE", str(scale)))
    config = (
        "preset: tiny\nPResNet: {pretrained: true}\nRTDETR: {multi_scale: [480]}\neval_spatial_size: [640, 640]\n"
    )
    (folder / "configs/rtdetr/tiny_6x_coco.yml").write_text(config)
    (folder / "configs/rtdetr/tiny_m_6x_coco.yml").write_text("preset: another\n")
    return folder
