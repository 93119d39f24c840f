"""Build Hugging Face's RT-DETR and RT-DETRv2 from a spec and fill them with canonical weights.

Nothing is downloaded: a model is made from a configuration and arrays. The other modules take what they use of
transformers from here, because the environment variable must be set before its import.
"""

import os
import warnings
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before the import: a benchmark must not wait for a network

import torch
from transformers import (  # pyright: ignore[reportMissingImports]
    HGNetV2Config,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrResNetConfig,
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
)
from transformers.loss.loss_rt_detr import RTDetrHungarianMatcher  # pyright: ignore[reportMissingImports]
from transformers.models.rt_detr.image_processing_pil_rt_detr import (  # pyright: ignore[reportMissingImports]
    RTDetrImageProcessorPil,
)

from frameworks.arrays import Arrays
from frameworks.config import CriterionSpec, HGNetv2Spec, ModelSpec, PResNetSpec
from frameworks.errors import UserError
from frameworks.hf_rtdetr.names import RULES, Rule, constants, to_huggingface, unsupported
from frameworks.torch_rtdetr.exchange import load_strictly

Model = RTDetrForObjectDetection | RTDetrV2ForObjectDetection
Matcher = RTDetrHungarianMatcher
ImageProcessor = RTDetrImageProcessorPil
Options = dict[str, Any]


def configuration(spec: ModelSpec, criterion: CriterionSpec) -> RTDetrConfig | RTDetrV2Config:
    """The whole configuration, explicit where Hugging Face's default is another model's.

    Raises:
        UserError: Hugging Face's configuration cannot represent this model or its losses.
    """
    if reason := unsupported(spec):
        raise UserError(f"Hugging Face's configuration cannot represent this model: {reason}")
    if reason := _unsupported_losses(criterion):
        raise UserError(f"Hugging Face's loss cannot represent this one: {reason}")
    options = _encoder_options(spec) | _decoder_options(spec) | _criterion_options(criterion)
    options |= {"backbone_config": _backbone(spec.backbone), "num_labels": spec.num_classes}
    # the default freezes the backbone's norms even where none should be frozen
    options |= {"freeze_backbone_batch_norms": spec.backbone.freeze_norm}
    if spec.version == "v1":
        return RTDetrConfig(**options)
    version = {"decoder_n_levels": spec.num_levels, "decoder_method": spec.decoder.cross_attn_method}
    return RTDetrV2Config(**options, **version)


def _encoder_options(spec: ModelSpec) -> Options:
    encoder = spec.encoder
    return {
        "encoder_hidden_dim": encoder.hidden_dim,
        "encoder_in_channels": list(spec.backbone.out_channels),
        "feat_strides": list(spec.backbone.out_strides),
        "encode_proj_layers": list(encoder.use_encoder_idx),
        "encoder_layers": encoder.num_encoder_layers,
        "encoder_attention_heads": encoder.nhead,
        "encoder_ffn_dim": encoder.dim_feedforward,
        "encoder_activation_function": encoder.enc_act,
        "activation_function": encoder.act,
        "hidden_expansion": encoder.expansion,
        "positional_encoding_temperature": int(encoder.pe_temperature),
        "eval_size": None,
        "normalize_before": False,
    }


def _decoder_options(spec: ModelSpec) -> Options:
    decoder = spec.decoder
    return {
        "d_model": decoder.hidden_dim,
        "decoder_in_channels": [spec.encoder.hidden_dim] * spec.num_levels,
        "num_feature_levels": spec.num_levels,
        "num_queries": decoder.num_queries,
        "decoder_layers": decoder.num_layers,
        "decoder_attention_heads": decoder.nhead,
        "decoder_n_points": decoder.num_points[0],
        "decoder_ffn_dim": decoder.dim_feedforward,
        "decoder_activation_function": decoder.activation,
        "num_denoising": decoder.num_denoising,
        "label_noise_ratio": decoder.label_noise_ratio,
        "box_noise_scale": decoder.box_noise_scale,
        "learn_initial_query": False,
        "with_box_refine": True,
        "anchor_image_size": None,
    } | dict.fromkeys(("dropout", "attention_dropout", "activation_dropout"), 0.0)


def _unsupported_losses(criterion: CriterionSpec) -> str | None:
    """Why Hugging Face's loss, which has fixed terms, is another one; None if it is not."""
    wrong = {
        f"its losses are always vfl and boxes, not {', '.join(criterion.losses)}": (
            set(criterion.losses) != {"vfl", "boxes"}
        ),
        "it has no boxes_weight_format": criterion.boxes_weight_format != "none",
        "it matches every layer by itself (share_matched_indices)": criterion.share_matched_indices,
    }
    return next((reason for reason, is_wrong in wrong.items() if is_wrong), None)


def _criterion_options(criterion: CriterionSpec) -> Options:
    matcher = criterion.matcher
    return {
        "matcher_class_cost": matcher.cost_class,
        "matcher_bbox_cost": matcher.cost_bbox,
        "matcher_giou_cost": matcher.cost_giou,
        "matcher_alpha": matcher.alpha,
        "matcher_gamma": matcher.gamma,
        "use_focal_loss": matcher.use_focal_loss,  # of the matcher: see trace_postprocess
        "auxiliary_loss": criterion.aux_loss,
        "focal_loss_alpha": criterion.alpha,
        "focal_loss_gamma": criterion.gamma,
        "weight_loss_vfl": criterion.weight_vfl,
        "weight_loss_bbox": criterion.weight_bbox,
        "weight_loss_giou": criterion.weight_giou,
    }


def _backbone(spec: Any) -> RTDetrResNetConfig | HGNetV2Config:
    features = [f"stage{index + 1}" for index in spec.return_idx]
    return _hgnetv2(spec, features) if isinstance(spec, HGNetv2Spec) else _presnet(spec, features)


def _presnet(spec: PResNetSpec, features: list[str]) -> RTDetrResNetConfig:
    return RTDetrResNetConfig(
        embedding_size=spec.stem_channels[-1],
        hidden_sizes=[width * spec.expansion for width in spec.stage_channels],
        depths=list(spec.blocks),
        layer_type=spec.block,
        hidden_act="relu",
        downsample_in_first_stage=False,
        downsample_in_bottleneck=False,
        out_features=features,  # pyright: ignore[reportCallIssue]
    )


def _hgnetv2(spec: HGNetv2Spec, features: list[str]) -> HGNetV2Config:
    stages = spec.stages
    outputs = [stage.out_channels for stage in stages]
    return HGNetV2Config(
        stem_channels=[3, *spec.stem_channels],
        hidden_sizes=outputs,  # the widths that the encoder receives; the stages have lists of their own
        stage_in_channels=[spec.stem_channels[-1], *outputs[:-1]],
        stage_mid_channels=[stage.mid_channels for stage in stages],
        stage_out_channels=outputs,
        stage_num_blocks=[stage.blocks for stage in stages],
        stage_downsample=[stage.downsample for stage in stages],
        stage_light_block=[stage.light for stage in stages],
        stage_kernel_size=[stage.kernel for stage in stages],
        stage_numb_of_layers=[stage.layers for stage in stages],
        use_learnable_affine_block=False,
        out_features=features,  # pyright: ignore[reportCallIssue]
    )


def build(
    spec: ModelSpec,
    criterion: CriterionSpec,
    weights: Arrays,
    device: str,
    dtype: torch.dtype,
    rules: list[Rule] = RULES,
) -> Model:
    """Build the model and load canonical weights strictly: nothing missing, nothing left over.

    Raises:
        UserError: Hugging Face's configuration cannot represent this model.
        ValueError: no rule matches a name, or names or shapes differ.
    """
    model: Any = empty(spec, criterion)
    model.to(device=device, dtype=dtype)
    mapped = to_huggingface(weights, rules) | constants(spec)
    copies = {copy: mapped[name] for copy, name in model.all_tied_weights_keys.items() if name in mapped}
    load_strictly(model, mapped | copies)
    return model


def empty(spec: ModelSpec, criterion: CriterionSpec) -> Model:
    """Build the model as transformers initialises it. Raises UserError as ``configuration``."""
    kind = RTDetrForObjectDetection if spec.version == "v1" else RTDetrV2ForObjectDetection
    with warnings.catch_warnings():
        # Heads of 384 / 8 = 48 channels are the official ones, and no CUDA kernel is used.
        warnings.filterwarnings("ignore", message="You'd better set embed_dim")
        return kind(configuration(spec, criterion))  # pyright: ignore[reportArgumentType]
