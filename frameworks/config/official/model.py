"""Reads the model sections of an official file as a ModelSpec. Defaults are those of the official classes."""

from dataclasses import replace
from typing import Any

from frameworks.config.backbones import HGNETV2_SIZES, BackboneSpec, DLASpec, RegNetSpec
from frameworks.config.model import DecoderSpec, EncoderSpec, ModelSpec
from frameworks.config.official.section import Section
from frameworks.config.presets.models import PRESNETS

START_WEIGHTS = "the weights to start from are chosen where training starts"
Indices = tuple[int, ...]
Size = tuple[int, int]  # height, width in pixels


def read_model(top: Section, parts: Section, *, legacy: bool, image_size: Size) -> ModelSpec:
    """The detector; ``parts`` is the section RTDETR, ``legacy`` tells rtdetr_pytorch from rtdetrv2_pytorch."""
    parts.only("encoder", "HybridEncoder")
    decoders = ("RTDETRTransformer",) if legacy else ("RTDETRTransformer", "RTDETRTransformerv2")
    decoder = parts.only("decoder", *decoders, why="the spec has no other in this repository")
    version = "v2" if decoder == "RTDETRTransformerv2" else "v1"
    if "eval_spatial_size" in top:
        _check_eval_size(top, image_size)
    with top.section(backbone := parts.only("backbone", *_BACKBONES)) as section:
        backbone = _BACKBONES[backbone](section)
    with top.section("HybridEncoder") as section:
        encoder = _read_encoder(section, backbone, image_size)
        if not legacy:
            why = "the spec has one version for the whole model, that of the decoder"
            section.only("version", version, default="v2", why=why)
    with top.section(decoder) as section:
        fields = _read_decoder(section, encoder.hidden_dim, backbone, image_size)
        fields |= _decoder_by_version(section, version, legacy, levels=len(backbone.return_idx))
        num_classes = read_num_classes(top, section)
    return ModelSpec(version, num_classes, backbone, encoder, DecoderSpec(**fields))


def read_num_classes(top: Section, section: Section) -> int:
    """The number of classes of a part: the top-level one, which counts for all parts, else the part's own."""
    if "num_classes" not in top:
        return section.take("num_classes", int, 80)
    shared = top.take("num_classes", int)
    section.only("num_classes", shared, default=shared, why="the top-level num_classes counts")
    return shared


def _read_presnet(section: Section) -> BackboneSpec:
    depth = section.only("depth", *PRESNETS)
    section.only("variant", "d", default="d", why="only PResNet-vd is written here")
    section.only("num_stages", 4, default=4)
    section.only("act", "relu", default="relu")
    section.aside(START_WEIGHTS, "pretrained")
    return replace(
        PRESNETS[depth],
        return_idx=section.take("return_idx", Indices, (0, 1, 2, 3)),
        freeze_at=section.take("freeze_at", int, -1),
        freeze_norm=section.take("freeze_norm", bool, True),
    )


def _read_hgnetv2(section: Section) -> BackboneSpec:
    name = section.only("name", *HGNETV2_SIZES)
    section.only("use_lab", False, default=False, why="no learnable affine blocks, as in all official configs")
    section.only(
        "freeze_stem_only", True, default=True, why="write which stages to freeze in a file of our own form"
    )
    section.aside(START_WEIGHTS, "pretrained")
    return replace(
        HGNETV2_SIZES[name],
        return_idx=section.take("return_idx", Indices, (1, 2, 3)),
        freeze_at=min(section.take("freeze_at", int, 0), 0),  # freeze_stem_only: no stage, whatever the number
        freeze_norm=section.take("freeze_norm", bool, True),
    )


def _read_dla(section: Section) -> BackboneSpec:
    section.only("dla", "dla34", default="dla34")
    section.aside(START_WEIGHTS, "pretrained")
    section.aside("DLANet knows it as return_index, and the official code drops it in silence", "return_idx")
    return DLASpec(return_idx=section.take("return_index", Indices, (1, 2, 3)))


def _read_regnet(section: Section) -> BackboneSpec:
    section.aside("the official code ignores it and builds facebook/regnet-y-040", "configuration")
    section.aside("the official code ignores it and takes the last three stages", "return_idx")
    return RegNetSpec()


_BACKBONES = {"PResNet": _read_presnet, "HGNetv2": _read_hgnetv2, "DLANet": _read_dla, "RegNet": _read_regnet}


def _read_encoder(section: Section, backbone: BackboneSpec, image_size: Size) -> EncoderSpec:
    _check_list(section, "in_channels", backbone.out_channels, (512, 1024, 2048), "the backbone's channels")
    _check_list(section, "feat_strides", backbone.out_strides, (8, 16, 32), "the backbone's strides")
    section.only("dropout", 0.0, default=0.0, why="there is no dropout")
    _check_eval_size(section, image_size)
    return EncoderSpec(
        hidden_dim=section.take("hidden_dim", int, 256),
        use_encoder_idx=section.take("use_encoder_idx", Indices, (2,)),
        num_encoder_layers=section.take("num_encoder_layers", int, 1),
        nhead=section.take("nhead", int, 8),
        dim_feedforward=section.take("dim_feedforward", int, 1024),
        enc_act=section.take("enc_act", str, "gelu").lower(),
        act=section.take("act", str, "silu").lower(),
        expansion=section.take("expansion", float, 1.0),
        depth_mult=section.take("depth_mult", float, 1.0),
        pe_temperature=section.take("pe_temperature", float, 10000.0),
    )


def _read_decoder(section: Section, width: int, backbone: BackboneSpec, image_size: Size) -> dict[str, Any]:
    """The fields that have the same name in all three decoder classes."""
    levels = len(backbone.return_idx)
    _check_list(
        section, "feat_channels", (width,) * levels, (512, 1024, 2048), "the encoder's hidden_dim, each level"
    )
    _check_list(section, "feat_strides", backbone.out_strides, (8, 16, 32), "the backbone's strides")
    section.only("num_levels", levels, default=3, why="one level for each stage of the backbone")
    section.only("dropout", 0.0, default=0.0, why="there is no dropout")
    for learned in ("learnt_init_query", "learn_query_content"):
        section.only(learned, False, default=False, why="queries are the encoder's best features, never learned")
    section.only("aux_loss", True, default=True, why="to train without, write it in a file of our own form")
    _check_eval_size(section, image_size)
    return {
        "hidden_dim": section.take("hidden_dim", int, 256),
        "num_queries": section.take("num_queries", int, 300),
        "eval_idx": section.take("eval_idx", int, -1),
        "nhead": section.take("nhead", int, 8),
        "dim_feedforward": section.take("dim_feedforward", int, 1024),
        "activation": section.take("activation", str, "relu").lower(),
        "num_denoising": section.take("num_denoising", int, 100),
        "label_noise_ratio": section.take("label_noise_ratio", float, 0.5),
        "box_noise_scale": section.take("box_noise_scale", float, 1.0),
        "eps": section.take("eps", float, 0.01),
    }


def _decoder_by_version(section: Section, version: str, legacy: bool, *, levels: int) -> dict[str, Any]:
    """The fields whose names or existence depend on the repository and on the decoder class."""
    layers, points = ("num_decoder_layers", "num_decoder_points") if legacy else ("num_layers", "num_points")
    if legacy:
        section.only("position_embed_type", "sine", default="sine")
    fields: dict[str, Any] = {"num_layers": section.take(layers, int, 6)}
    if version == "v2" and section.holds(points, list):
        fields["num_points"] = section.take(points, Indices)
    else:
        fields["num_points"] = (section.take(points, int, 4),) * levels
    if version == "v2":
        fields["cross_attn_method"] = section.take("cross_attn_method", str, "default")
        why = "'one2many' and 'agnostic' are not written here"
        section.only("query_select_method", "default", default="default", why=why)
    return fields


def _check_list(section: Section, key: str, ours: Indices, default: Indices, what: str) -> None:
    """Refuse a list that differs from what the spec derives: the official model could not be built."""
    given = section.take(key, Indices, default)
    if given != ours:
        section.refuse(key, list(given), f"expected {what}, {list(ours)}")


def _check_eval_size(section: Section, image_size: Size) -> None:
    size = section.optional("eval_spatial_size", Size)
    if size is not None and size != image_size:
        section.refuse(
            "eval_spatial_size", list(size), f"images are resized to {list(image_size)}, and both have to agree"
        )
