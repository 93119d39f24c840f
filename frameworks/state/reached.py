"""Which parameters the losses of a training pass reach; the others have no gradient, which is not one of zero."""

from frameworks.config import CriterionSpec, ModelSpec
from frameworks.state.backbones import stem_and_stages


def unreached(model: ModelSpec, criterion: CriterionSpec, *, denoised: bool) -> tuple[str, ...]:
    """Beginnings of the names of the modules that no loss reaches.

    Boxes and scores that lead from one layer to the next are detached, but a layer's boxes are refined from those
    of the layer before, with their gradient.

    Args:
        denoised: whether the pass has denoising queries; their losses are those of every decoder layer.
    """
    _, stages = stem_and_stages(model.backbone)
    found = stages[max(model.backbone.return_idx) + 1 :]
    layers = model.decoder.num_layers
    if not criterion.aux_loss:
        found += [f"decoder.enc_{part}" for part in ("output", "score_head", "bbox_head")]
    if not (criterion.aux_loss or denoised):
        found += [f"decoder.dec_score_head.{i}" for i in range(layers - 1)]
        found += [f"decoder.dec_bbox_head.{i}" for i in range(layers - 2)]
    if not denoised:
        found += ["decoder.denoising_class_embed"]
    if "boxes" not in criterion.losses:
        found += ["decoder.enc_bbox_head", "decoder.dec_bbox_head"]
    if criterion.losses == ("boxes",):
        found += ["decoder.enc_score_head", "decoder.dec_score_head"]
    return tuple(f"{name}." for name in found)
