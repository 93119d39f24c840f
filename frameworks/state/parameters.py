"""Names and shapes of a model's state, what of it is trained, and its counts.

Names and shapes are those of the official RT-DETR ``state_dict``. Shapes follow PyTorch's layout: Linear
[out, in], convolution [out, in / groups, kernel, kernel], attention's packed in_proj [3 d, d] in the order query,
key, value.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from types import MappingProxyType

from frameworks.config import ModelSpec
from frameworks.state.backbones import backbone_shapes, frozen_modules, norm_modules
from frameworks.state.named_shapes import COUNTER, Named, Shape, conv_norm

STATISTICS = ("running_mean", "running_var", COUNTER)
_SAMPLING_OFFSETS = r"decoder\.decoder\.layers\.\d+\.cross_attn\.sampling_offsets\."


@dataclass(frozen=True)
class ModelFacts:
    """What a spec says about a model's state, each fact computed once. Get it from ``model_facts``."""

    spec: ModelSpec

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Every entry of the state: trainable and frozen parameters, running statistics, counters."""
        spec = self.spec
        return MappingProxyType(dict([*backbone_shapes(spec.backbone), *_encoder(spec), *_decoder(spec)]))

    @cached_property
    def trainable(self) -> tuple[str, ...]:
        """Names that the optimizer updates: no statistics, frozen norms or stages, offsets of discrete sampling."""
        constant = [re.escape(f"{path}.") for path in frozen_modules(self.spec.backbone)]
        if self.spec.decoder.cross_attn_method == "discrete":
            constant.append(_SAMPLING_OFFSETS)
        pattern = re.compile("|".join(constant) or r"(?!)")
        return tuple(name for name in self.shapes if not self.is_buffer(name) and not pattern.match(name))

    @cached_property
    def parameters(self) -> int:
        """Numbers in the weights and biases that are ``nn.Parameter`` in the official code."""
        return self.size(name for name in self.shapes if not self.is_buffer(name))

    @cached_property
    def with_running_statistics(self) -> int:
        """Numbers in the whole state, batch-norm statistics and counters included."""
        return self.size(self.shapes)

    def size(self, names: Iterable[str]) -> int:
        """Numbers in the entries of these names."""
        return sum(math.prod(self.shapes[name]) for name in names)

    def is_buffer(self, name: str) -> bool:
        """Whether an entry is no parameter: a running statistic, a counter, or anything of a frozen norm."""
        return name.rpartition(".")[2] in STATISTICS or self.is_frozen_norm(name)

    def is_frozen_norm(self, name: str) -> bool:
        """Whether an entry belongs to a batch norm that the spec freezes."""
        backbone = self.spec.backbone
        return backbone.freeze_norm and name.rpartition(".")[0] in norm_modules(backbone)


@cache
def model_facts(spec: ModelSpec) -> ModelFacts:
    """The facts of a model, the same object for equal specs."""
    return ModelFacts(spec)


def state_shapes(spec: ModelSpec) -> dict[str, Shape]:
    """Names and shapes of the model's state, see ``ModelFacts.shapes``."""
    return dict(model_facts(spec).shapes)


def trainable_names(spec: ModelSpec) -> list[str]:
    """Names that the optimizer updates, see ``ModelFacts.trainable``."""
    return list(model_facts(spec).trainable)


def _linear(name: str, channels_in: int, channels_out: int) -> Named:
    yield f"{name}.weight", (channels_out, channels_in)
    yield f"{name}.bias", (channels_out,)


def _layer_norm(name: str, channels: int) -> Named:
    yield f"{name}.weight", (channels,)
    yield f"{name}.bias", (channels,)


def _mlp(name: str, widths: list[int]) -> Named:
    for i in range(len(widths) - 1):
        yield from _linear(f"{name}.layers.{i}", widths[i], widths[i + 1])


def _self_attention(name: str, d: int) -> Named:
    yield f"{name}.in_proj_weight", (3 * d, d)
    yield f"{name}.in_proj_bias", (3 * d,)
    yield from _linear(f"{name}.out_proj", d, d)


def _encoder(spec: ModelSpec) -> Named:
    e, d, levels = spec.encoder, spec.encoder.hidden_dim, spec.num_levels
    conv, norm = ("0", "1") if spec.version == "v1" else ("conv", "norm")
    for i, channels in enumerate(spec.backbone.out_channels):
        yield from conv_norm(f"encoder.input_proj.{i}", channels, d, 1, conv=conv, norm=norm)
    for i in range(len(e.use_encoder_idx)):
        for layer in range(e.num_encoder_layers):
            name = f"encoder.encoder.{i}.layers.{layer}"
            yield from _self_attention(f"{name}.self_attn", d)
            yield from _linear(f"{name}.linear1", d, e.dim_feedforward)
            yield from _linear(f"{name}.linear2", e.dim_feedforward, d)
            yield from _layer_norm(f"{name}.norm1", d)
            yield from _layer_norm(f"{name}.norm2", d)
    for i in range(levels - 1):
        yield from conv_norm(f"encoder.lateral_convs.{i}", d, d, 1)
    for i in range(levels - 1):
        yield from _csp(f"encoder.fpn_blocks.{i}", spec)
    for i in range(levels - 1):
        yield from conv_norm(f"encoder.downsample_convs.{i}", d, d, 3)
    for i in range(levels - 1):
        yield from _csp(f"encoder.pan_blocks.{i}", spec)


def _csp(name: str, spec: ModelSpec) -> Named:
    d, hidden = spec.encoder.hidden_dim, spec.encoder.csp_dim
    yield from conv_norm(f"{name}.conv1", 2 * d, hidden, 1)
    yield from conv_norm(f"{name}.conv2", 2 * d, hidden, 1)
    for i in range(spec.encoder.num_rep_blocks):
        yield from conv_norm(f"{name}.bottlenecks.{i}.conv1", hidden, hidden, 3)
        yield from conv_norm(f"{name}.bottlenecks.{i}.conv2", hidden, hidden, 1)
    if hidden != d:
        yield from conv_norm(f"{name}.conv3", hidden, d, 1)


def _decoder(spec: ModelSpec) -> Named:
    dec, d, classes = spec.decoder, spec.decoder.hidden_dim, spec.num_classes
    for i in range(spec.num_levels):
        yield from conv_norm(f"decoder.input_proj.{i}", spec.encoder.hidden_dim, d, 1)
    samples = dec.nhead * sum(dec.num_points)
    for i in range(dec.num_layers):
        name = f"decoder.decoder.layers.{i}"
        yield from _self_attention(f"{name}.self_attn", d)
        yield from _layer_norm(f"{name}.norm1", d)
        yield from _linear(f"{name}.cross_attn.sampling_offsets", d, samples * 2)
        yield from _linear(f"{name}.cross_attn.attention_weights", d, samples)
        yield from _linear(f"{name}.cross_attn.value_proj", d, d)
        yield from _linear(f"{name}.cross_attn.output_proj", d, d)
        yield from _layer_norm(f"{name}.norm2", d)
        yield from _linear(f"{name}.linear1", d, dec.dim_feedforward)
        yield from _linear(f"{name}.linear2", dec.dim_feedforward, d)
        yield from _layer_norm(f"{name}.norm3", d)
    if dec.num_denoising > 0:
        yield "decoder.denoising_class_embed.weight", (classes + 1, d)  # the last row is padding
    yield from _mlp("decoder.query_pos_head", [4, 2 * d, d])
    project, norm = ("0", "1") if spec.version == "v1" else ("proj", "norm")
    yield from _linear(f"decoder.enc_output.{project}", d, d)
    yield from _layer_norm(f"decoder.enc_output.{norm}", d)
    yield from _linear("decoder.enc_score_head", d, classes)
    yield from _mlp("decoder.enc_bbox_head", [d, d, d, 4])
    for i in range(dec.num_layers):
        yield from _linear(f"decoder.dec_score_head.{i}", d, classes)
    for i in range(dec.num_layers):
        yield from _mlp(f"decoder.dec_bbox_head.{i}", [d, d, d, 4])
