"""HGNetv2 and RegNet against the ``transformers`` library: the same weights give the same features.

Its RegNet is the one that the official code uses; its HGNetv2 is an independent port of the official one.
"""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from frameworks.config import BackboneSpec
from frameworks.state.backbones import backbone_shapes
from frameworks.tests.test_backbones import HGNETV2, REGNET
from frameworks.torch_rtdetr.backbones import make_backbone

pytest.importorskip("transformers")

from transformers import HGNetV2Backbone, HGNetV2Config, RegNetConfig, RegNetModel

ALL_STAGES = (0, 1, 2, 3)


def weights(spec: BackboneSpec) -> dict[str, torch.Tensor]:
    """Values around one for variances and scales, around zero for everything else."""
    rng = np.random.default_rng(0)
    drawn = {}
    for name, shape in backbone_shapes(spec):
        value = rng.uniform(-1, 1, shape) / np.sqrt(max(1, np.prod(shape[1:])))
        is_scale = name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1)
        drawn[name] = torch.as_tensor(1 + value / 4 if is_scale else value)
    return drawn


def features(spec: BackboneSpec, images: torch.Tensor, training: bool) -> list[torch.Tensor]:
    backbone = make_backbone(spec).double().train(training)
    backbone.load_state_dict({name.removeprefix("backbone."): value for name, value in weights(spec).items()})
    return backbone(images)


def renamed_regnet(name: str) -> str:
    return name.removeprefix("backbone.model.")


def renamed_hgnetv2(name: str) -> str:
    for old, new in (
        (r"^backbone\.stem", "embedder"),
        (r"^backbone\.stages", "encoder.stages"),
        (r"\.bn\.", ".normalization."),
        (r"\.conv(\.1)?\.weight$", ".convolution.weight"),
        (r"aggregation_squeeze_conv", "aggregation.0"),
        (r"aggregation_excitation_conv", "aggregation.1"),
    ):
        name = re.sub(old, new, name)
    return name


@pytest.mark.parametrize("training", [False, True])
def test_regnet(training):
    spec, images = replace(REGNET, return_idx=ALL_STAGES), torch.rand(2, 3, 64, 96, dtype=torch.float64)
    config = RegNetConfig(
        embedding_size=spec.stem_channels,
        hidden_sizes=list(spec.widths),
        depths=list(spec.depths),
        groups_width=spec.group_width,
        layer_type="y",
        hidden_act="relu",
        downsample_in_first_stage=True,
    )
    library = RegNetModel(config).double().train(training)
    library.load_state_dict({renamed_regnet(n): v for n, v in weights(spec).items()})
    wanted = library(images, output_hidden_states=True).hidden_states[1:]
    for twin, other in zip(features(spec, images, training), wanted, strict=True):
        torch.testing.assert_close(twin, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("training", [False, True])
def test_hgnetv2(training):
    spec, images = replace(HGNETV2, return_idx=ALL_STAGES), torch.rand(2, 3, 64, 96, dtype=torch.float64)
    stages, (inside, stem) = spec.stages, spec.stem_channels
    widths = [stem, *(stage.out_channels for stage in stages)]
    config = HGNetV2Config(
        stem_channels=[3, inside, stem],
        embedding_size=stem,
        hidden_sizes=widths[1:],
        stage_in_channels=widths[:4],
        stage_out_channels=widths[1:],
        stage_mid_channels=[stage.mid_channels for stage in stages],
        stage_num_blocks=[stage.blocks for stage in stages],
        stage_downsample=[stage.downsample for stage in stages],
        stage_light_block=[stage.light for stage in stages],
        stage_kernel_size=[stage.kernel for stage in stages],
        stage_numb_of_layers=[stage.layers for stage in stages],
        out_features=["stage1", "stage2", "stage3", "stage4"],  # pyright: ignore[reportCallIssue]
    )
    library = HGNetV2Backbone(config).double().train(training)
    library.load_state_dict({renamed_hgnetv2(n): v for n, v in weights(spec).items()})
    for twin, wanted in zip(features(spec, images, training), library(images).feature_maps, strict=True):
        torch.testing.assert_close(twin, wanted, rtol=1e-12, atol=1e-12)
