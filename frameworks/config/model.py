"""What the model is: hybrid encoder, decoder, and the whole. Both twins are built from this and nothing else.

Source: RT-DETR (Zhao et al., arXiv 2304.08069), sections 4.1-4.3, and the resolved official configs.
"""

from dataclasses import dataclass, field
from itertools import pairwise

from frameworks.config.backbones import BackboneSpec, PResNetSpec
from frameworks.config.validation import require, require_choice


@dataclass(frozen=True)
class EncoderSpec:
    """HybridEncoder: AIFI (self-attention within a level) and CCFM (convolutional fusion across levels)."""

    hidden_dim: int = 256
    use_encoder_idx: tuple[int, ...] = (2,)  # levels that get self-attention
    num_encoder_layers: int = 1
    nhead: int = 8
    dim_feedforward: int = 1024
    enc_act: str = "gelu"  # in AIFI; exact (erf) form
    act: str = "silu"  # in CCFM
    expansion: float = 0.5  # hidden width of a CSP-RepVGG layer / hidden_dim
    depth_mult: float = 1.0  # RepVGG blocks in a CSP layer = round(3 * depth_mult)
    pe_temperature: float = 10000.0

    def __post_init__(self) -> None:
        require(self.hidden_dim > 0 and self.hidden_dim % 4 == 0, self, "hidden_dim", "a multiple of 4")
        require(
            self.nhead > 0 and self.hidden_dim % self.nhead == 0,
            self, "nhead", f"a divisor of hidden_dim {self.hidden_dim}",
        )  # fmt: skip
        require_choice(self, "enc_act", ("gelu", "relu"))
        require_choice(self, "act", ("silu", "relu", "gelu"))
        require(
            0 < self.expansion <= 1 and self.csp_dim >= 1,
            self, "expansion", "a ratio in (0, 1] that leaves at least one channel",
        )  # fmt: skip
        require(self.num_rep_blocks >= 1, self, "depth_mult", "a value with round(3 * depth_mult) >= 1")
        require(self.num_encoder_layers >= 1, self, "num_encoder_layers", "at least 1")
        require(self.dim_feedforward > 0, self, "dim_feedforward", "at least 1")
        require(self.pe_temperature > 0, self, "pe_temperature", "above 0")

    @property
    def num_rep_blocks(self) -> int:
        return round(3 * self.depth_mult)

    @property
    def csp_dim(self) -> int:
        return int(self.hidden_dim * self.expansion)


@dataclass(frozen=True)
class DecoderSpec:
    """RTDETRTransformer: query selection, deformable decoder layers, iterative box refinement."""

    hidden_dim: int = 256  # the encoder may be wider: input_proj narrows its maps
    num_queries: int = 300
    num_layers: int = 3
    eval_idx: int = -1  # the layer whose heads answer at inference; -1 is the last
    nhead: int = 8
    num_points: tuple[int, ...] = (4, 4, 4)  # sampling points per head, one number a level
    cross_attn_method: str = "default"  # "default": bilinear; "discrete" (v2 only): the nearest pixel, no gradient
    dim_feedforward: int = 1024
    activation: str = "relu"
    num_denoising: int = 100  # 0: no contrastive denoising (and no class embedding)
    label_noise_ratio: float = 0.5
    box_noise_scale: float = 1.0
    eps: float = 0.01  # anchors closer than this to the border are invalid

    def __post_init__(self) -> None:
        require(self.hidden_dim > 0 and self.hidden_dim % 4 == 0, self, "hidden_dim", "a multiple of 4")
        require(
            self.nhead > 0 and self.hidden_dim % self.nhead == 0,
            self, "nhead", f"a divisor of hidden_dim {self.hidden_dim}",
        )  # fmt: skip
        require(self.num_queries >= 1, self, "num_queries", "at least 1")
        require(self.num_layers >= 1, self, "num_layers", "at least 1")
        require(
            -self.num_layers <= self.eval_idx < self.num_layers,
            self, "eval_idx", f"a layer of the {self.num_layers}",
        )  # fmt: skip
        require(
            len(self.num_points) > 0 and min(self.num_points) >= 1,
            self, "num_points", "counts of at least 1, one a level",
        )  # fmt: skip
        require_choice(self, "cross_attn_method", ("default", "discrete"))
        require(self.dim_feedforward >= 1, self, "dim_feedforward", "at least 1")
        require_choice(self, "activation", ("relu", "gelu", "silu"))
        require(self.num_denoising >= 0, self, "num_denoising", "0 or more")
        require(0 <= self.label_noise_ratio <= 1, self, "label_noise_ratio", "a ratio in [0, 1]")
        require(0 <= self.eps < 0.5, self, "eps", "a distance in [0, 0.5)")
        # At 0 the official v1 code takes activated boxes for logits: a defect that nobody should train with.
        require(self.box_noise_scale > 0, self, "box_noise_scale", "above 0 (num_denoising=0 turns noise off)")

    @property
    def eval_layer(self) -> int:
        return self.eval_idx % self.num_layers


@dataclass(frozen=True)
class ModelSpec:
    """The whole detector. ``version`` is the official repository's: names of some parameters, the clamp before
    the last norm of a decoder layer (v1 only), initial values of the decoder (PITFALLS B.1, D.5, D.8)."""

    version: str = "v1"  # RT-DETR; "v2": RT-DETRv2
    num_classes: int = 80
    backbone: BackboneSpec = field(default_factory=PResNetSpec)
    encoder: EncoderSpec = EncoderSpec()
    decoder: DecoderSpec = DecoderSpec()

    def __post_init__(self) -> None:
        require_choice(self, "version", ("v1", "v2"))
        require(self.num_classes >= 1, self, "num_classes", "at least 1")
        levels = self.num_levels
        require(
            all(0 <= i < levels for i in self.encoder.use_encoder_idx),
            self.encoder, "use_encoder_idx", f"levels from 0 to {levels - 1}",
        )  # fmt: skip
        strides = self.backbone.out_strides
        require(
            all(b == 2 * a for a, b in pairwise(strides)),
            self.backbone, "return_idx", "consecutive stages (the encoder upsamples by 2 between levels)",
        )  # fmt: skip

        points = self.decoder.num_points
        require(len(points) == levels, self.decoder, "num_points", f"{levels} counts, one for each level")
        if self.version == "v1":
            require(len(set(points)) == 1, self.decoder, "num_points", "equal counts (version v1)")
            method = "cross_attn_method"
            require(self.decoder.cross_attn_method == "default", self.decoder, method, "'default' (version v1)")

    @property
    def num_levels(self) -> int:
        return len(self.backbone.return_idx)
