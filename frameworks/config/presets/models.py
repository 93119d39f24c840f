"""Models of the official configs by size, as version v1 (lyuwenyu/RT-DETR, commit 068dfde)."""

from dataclasses import replace

from frameworks.config.backbones import HGNETV2_SIZES, DLASpec, PResNetSpec, RegNetSpec
from frameworks.config.model import DecoderSpec, EncoderSpec, ModelSpec

R50VD = PResNetSpec(block="bottleneck", blocks=(3, 4, 6, 3), freeze_at=0, freeze_norm=True)
PRESNETS = {  # by depth
    18: PResNetSpec(),
    34: PResNetSpec(blocks=(3, 4, 6, 3)),
    50: R50VD,
    101: replace(R50VD, blocks=(3, 4, 23, 3)),
}

SMALL = EncoderSpec(expansion=0.5)
LARGE = EncoderSpec(expansion=1.0)
EXTRA_LARGE = EncoderSpec(expansion=1.0, hidden_dim=384, dim_feedforward=2048)  # the decoder's FFN stays at 1024
HUGE = EncoderSpec(expansion=1.0, hidden_dim=512, dim_feedforward=2048, num_encoder_layers=2)
SIX = DecoderSpec(num_layers=6)

MODELS = {
    "r18vd": ModelSpec(backbone=PRESNETS[18], encoder=SMALL, decoder=DecoderSpec(num_layers=3)),
    "r34vd": ModelSpec(backbone=PRESNETS[34], encoder=SMALL, decoder=DecoderSpec(num_layers=4)),
    # Six layers are trained; inference stops after the third.
    "r50vd_m": ModelSpec(backbone=R50VD, encoder=SMALL, decoder=replace(SIX, eval_idx=2)),
    "r50vd": ModelSpec(backbone=R50VD, encoder=LARGE, decoder=SIX),
    "r101vd": ModelSpec(backbone=PRESNETS[101], encoder=EXTRA_LARGE, decoder=SIX),
    "dla34": ModelSpec(backbone=DLASpec(), encoder=LARGE, decoder=SIX),
    "regnet": ModelSpec(backbone=RegNetSpec(), encoder=LARGE, decoder=SIX),
    "hgnetv2_l": ModelSpec(backbone=HGNETV2_SIZES["L"], encoder=LARGE, decoder=SIX),
    "hgnetv2_x": ModelSpec(backbone=HGNETV2_SIZES["X"], encoder=EXTRA_LARGE, decoder=SIX),
    "hgnetv2_h": ModelSpec(backbone=HGNETV2_SIZES["H"], encoder=HUGE, decoder=SIX),
}
