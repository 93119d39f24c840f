"""The modules of a model in data-flow order."""

from frameworks.config import ModelSpec
from frameworks.state.backbones import stem_and_stages


def separate_modules(spec: ModelSpec) -> list[str]:
    """The paths of ``module_paths`` that lie in no other one: together nearly the whole model, each part once."""
    paths = module_paths(spec)
    return [path for path in paths if not any(path.startswith(f"{other}.") for other in paths)]


def module_paths(spec: ModelSpec) -> list[str]:
    """Modules in the order that data flows through them, under canonical names."""
    levels, layers = range(spec.num_levels), range(spec.decoder.num_layers)
    stem, stages = stem_and_stages(spec.backbone)
    paths = [*stem, *stages]
    paths += [f"encoder.input_proj.{i}" for i in levels]
    for i in range(len(spec.encoder.use_encoder_idx)):
        paths += [f"encoder.encoder.{i}.layers.0.self_attn", f"encoder.encoder.{i}"]
    for i in range(spec.num_levels - 1):
        paths += [f"encoder.lateral_convs.{i}", f"encoder.fpn_blocks.{i}"]
    for i in range(spec.num_levels - 1):
        paths += [f"encoder.downsample_convs.{i}", f"encoder.pan_blocks.{i}"]
    paths += [f"decoder.input_proj.{i}" for i in levels]
    paths += ["decoder.enc_output", "decoder.enc_score_head", "decoder.enc_bbox_head", "decoder.query_pos_head"]
    for i in layers:
        layer = f"decoder.decoder.layers.{i}"
        paths += [f"{layer}.self_attn", f"{layer}.cross_attn", layer]
        paths += [f"decoder.dec_score_head.{i}", f"decoder.dec_bbox_head.{i}"]
    return paths
