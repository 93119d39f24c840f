"""Specs of the hybrid encoder, the decoder and the whole model, from which every framework builds it.

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
        divides = self.nhead > 0 and self.hidden_dim % self.nhead == 0
        require(divides, self, "nhead", f"a divisor of hidden_dim {self.hidden_dim}")
        require_choice(self, "enc_act", ("gelu", "relu"))
        require_choice(self, "act", ("silu", "relu", "gelu"))
        has_channels = 0 < self.expansion <= 1 and self.csp_dim >= 1
        require(has_channels, self, "expansion", "a ratio in (0, 1] that leaves at least one channel")
        require(self.num_rep_blocks >= 1, self, "depth_mult", "a value with round(3 * depth_mult) >= 1")
        require(self.num_encoder_layers >= 1, self, "num_encoder_layers", "at least 1")
        require(self.dim_feedforward > 0, self, "dim_feedforward", "at least 1")
        require(self.pe_temperature > 0, self, "pe_temperature", "above 0")

    @property
    def num_rep_blocks(self) -> int:
        """RepVGG blocks in a CSP layer."""
        return round(3 * self.depth_mult)

    @property
    def csp_dim(self) -> int:
        """Hidden width of a CSP-RepVGG layer."""
        return int(self.hidden_dim * self.expansion)


@dataclass(frozen=True)
class DecoderSpec:
    """RTDETRTransformer: query selection, deformable decoder layers, iterative box refinement."""

    hidden_dim: int = 256  # the encoder may be wider: input_proj narrows its maps
    num_queries: int = 300
    num_layers: int = 3
    eval_idx: int = -1  # the last layer at inference; -1 is the last of all
    nhead: int = 8
    num_points: tuple[int, ...] = (4, 4, 4)  # sampling points per head, one number per level
    cross_attn_method: str = "default"  # "default": bilinear; "discrete" (v2 only): the nearest pixel, no gradient
    dim_feedforward: int = 1024
    activation: str = "relu"
    num_denoising: int = 100  # 0: no contrastive denoising (and no class embedding)
    label_noise_ratio: float = 0.5
    box_noise_scale: float = 1.0
    eps: float = 0.01  # anchors closer than this to the border are invalid, relative to the image

    def __post_init__(self) -> None:
        require(self.hidden_dim > 0 and self.hidden_dim % 4 == 0, self, "hidden_dim", "a multiple of 4")
        divides = self.nhead > 0 and self.hidden_dim % self.nhead == 0
        require(divides, self, "nhead", f"a divisor of hidden_dim {self.hidden_dim}")
        require(self.num_queries >= 1, self, "num_queries", "at least 1")
        require(self.num_layers >= 1, self, "num_layers", "at least 1")
        exists = -self.num_layers <= self.eval_idx < self.num_layers
        require(exists, self, "eval_idx", f"a layer of the {self.num_layers}")
        positive = min(self.num_points, default=0) >= 1
        require(positive, self, "num_points", "counts of at least 1, one per level")
        require_choice(self, "cross_attn_method", ("default", "discrete"))
        require(self.dim_feedforward >= 1, self, "dim_feedforward", "at least 1")
        require_choice(self, "activation", ("relu", "gelu", "silu"))
        require(self.num_denoising >= 0, self, "num_denoising", "0 or more")
        require(0 <= self.label_noise_ratio <= 1, self, "label_noise_ratio", "a ratio in [0, 1]")
        require(0 <= self.eps < 0.5, self, "eps", "a distance in [0, 0.5)")
        # At 0 the official v1 code takes activated boxes for logits: a defect.
        require(self.box_noise_scale > 0, self, "box_noise_scale", "above 0 (num_denoising=0 turns noise off)")

    @property
    def eval_layer(self) -> int:
        """Index of the last layer at inference, counted from 0."""
        return self.eval_idx % self.num_layers


@dataclass(frozen=True)
class ModelSpec:
    """The whole detector.

    ``version`` decides the names of some parameters, the clamp before the last norm of a decoder layer (v1 only)
    and initial values of the decoder (docs/pitfalls.md B.1, D.5, D.8).
    """

    version: str = "v1"  # RT-DETR; "v2": RT-DETRv2
    num_classes: int = 80
    backbone: BackboneSpec = field(default_factory=PResNetSpec)
    encoder: EncoderSpec = EncoderSpec()
    decoder: DecoderSpec = DecoderSpec()

    def __post_init__(self) -> None:
        require_choice(self, "version", ("v1", "v2"))
        require(self.num_classes >= 1, self, "num_classes", "at least 1")
        levels = self.num_levels
        exist = all(0 <= i < levels for i in self.encoder.use_encoder_idx)
        require(exist, self.encoder, "use_encoder_idx", f"levels from 0 to {levels - 1}")
        consecutive = all(b == 2 * a for a, b in pairwise(self.backbone.out_strides))
        expected = "consecutive stages (the encoder upsamples by 2 between levels)"
        require(consecutive, self.backbone, "return_idx", expected)
        points = self.decoder.num_points
        require(len(points) == levels, self.decoder, "num_points", f"{levels} counts, one for each level")
        if self.version == "v1":
            require(len(set(points)) == 1, self.decoder, "num_points", "equal counts (version v1)")
            method = "cross_attn_method"
            require(self.decoder.cross_attn_method == "default", self.decoder, method, "'default' (version v1)")

    @property
    def num_levels(self) -> int:
        """Levels of the feature pyramid."""
        return len(self.backbone.return_idx)
