"""Decoder: selects queries among the encoder's tokens and refines their boxes (RT-DETR, arXiv 2304.08069, 4.3).

RT-DETRv2 (arXiv 2407.17140) samples differently in cross-attention, see ``attention.py``.

    encoder maps L x [B, C, H, W]
      | input_proj per level, flatten, concatenate
    memory [B, N, D] ------------------------------------------------+
      | _select: score every token, keep the best Q                  |
    content [B, Q, D], reference boxes [B, Q, 4] (both detached)     |
      | put the denoising queries in front: Q -> S                   |
    target [B, S, D], reference [B, S, 4]                            |
      | _refine, once per layer:                                     |
      |   position = query_pos_head(reference)                       |
      |   target = layer(target, reference, memory, position) <------+
      |   logits = dec_score_head(target)                  [B, S, K]
      |   boxes = sigmoid(dec_bbox_head(target) + logit(reference)) [B, S, 4], the next reference
    Outputs: one Prediction per layer, split into denoising and matching queries

Shape suffixes: B batch, N = sum of h*w over the levels, Q matching queries, S = denoising + matching
queries, D model width, K classes.
"""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frameworks.config import ModelSpec
from frameworks.torch_rtdetr.attention import MultiheadAttention, MultiscaleDeformableAttention
from frameworks.torch_rtdetr.box_ops import inverse_sigmoid
from frameworks.torch_rtdetr.denoising import DenoisingQueries
from frameworks.torch_rtdetr.layers import MLP, ConvNorm, LayerNorm, activation


@dataclass(frozen=True)
class Prediction:
    """Class logits [B, Q, K] and boxes [B, Q, 4], cxcywh in [0, 1], of one layer."""

    logits: Tensor
    boxes_cxcywh: Tensor


@dataclass(frozen=True)
class Outputs:
    """What the decoder returns; ``layers[-1]`` is the final prediction."""

    layers: list[Prediction]
    encoder: Prediction  # of the selected tokens, before any decoder layer; not detached
    denoising: list[Prediction]  # one per layer, empty without denoising queries
    queries: DenoisingQueries | None
    topk_BQ: Tensor  # int64, selected tokens
    topk_scores_BQ: Tensor  # their best class logit


@dataclass(frozen=True)
class Selection:
    """The encoder's tokens that become queries. Content and boxes are detached, ``encoder`` is not."""

    content_BQD: Tensor
    boxes_unact_BQ4: Tensor  # logits of cxcywh
    encoder: Prediction
    topk_BQ: Tensor  # int64, index of each token
    scores_BQ: Tensor  # its best class logit


class DecoderLayer(nn.Module):
    """Self-attention, deformable cross-attention and feed-forward, all post-norm."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        d, dim = spec.decoder, spec.decoder.hidden_dim
        self.self_attn = MultiheadAttention(dim, d.nhead)
        self.norm1 = LayerNorm(dim)
        self.cross_attn = MultiscaleDeformableAttention(dim, d.nhead, d.num_points, d.cross_attn_method)
        self.norm2 = LayerNorm(dim)
        self.linear1 = nn.Linear(dim, d.dim_feedforward)
        self.linear2 = nn.Linear(d.dim_feedforward, dim)
        self.norm3 = LayerNorm(dim)
        self.act = d.activation
        self.clamps = spec.version == "v1"

    def forward(
        self,
        target_BSD: Tensor,
        reference_BS4: Tensor,
        memory_BND: Tensor,
        spatial_shapes: list[tuple[int, int]],
        blocked_SS: Tensor | None,
        position_BSD: Tensor,
    ) -> Tensor:
        """Queries [B, S, D] -> [B, S, D]; ``blocked_SS``: True where a query (row) must not see a key."""
        query_BSD = target_BSD + position_BSD
        target_BSD = self.norm1(target_BSD + self.self_attn(query_BSD, query_BSD, target_BSD, blocked_SS))
        query_BSD = target_BSD + position_BSD
        target_BSD = self.norm2(target_BSD + self.cross_attn(query_BSD, reference_BS4, memory_BND, spatial_shapes))
        target_BSD = target_BSD + self.linear2(activation(self.act, self.linear1(target_BSD)))
        if self.clamps:  # the official guard against float16 overflow; part of the function in every precision
            target_BSD = target_BSD.clamp(min=-65504, max=65504)
        return self.norm3(target_BSD)


class TransformerDecoder(nn.Module):
    """Holds the layers under their official names; ``RTDETRTransformer._refine`` runs them."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(spec) for _ in range(spec.decoder.num_layers))


class EncoderOutput(nn.Module):
    """Linear layer and norm on every token before the heads that select queries: RT-DETRv2's names."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, dim)
        self.norm = LayerNorm(dim)

    def forward(self, memory_BND: Tensor) -> Tensor:
        """[B, N, D] -> [B, N, D]."""
        return self.norm(self.proj(memory_BND))


def encoder_output(version: str, dim: int) -> nn.Module:
    """Linear layer and norm [B, N, D] -> [B, N, D]: children numbered 0 and 1 in v1, named in v2."""
    return nn.Sequential(nn.Linear(dim, dim), LayerNorm(dim)) if version == "v1" else EncoderOutput(dim)


class RTDETRTransformer(nn.Module):
    """Encoder maps -> selected queries -> refined boxes and classes (official RTDETRTransformer and ...v2)."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        d, dim, classes = spec.decoder, spec.decoder.hidden_dim, spec.num_classes
        self.spec = d
        width = spec.encoder.hidden_dim
        self.input_proj = nn.ModuleList(ConvNorm(width, dim, 1) for _ in range(spec.num_levels))
        self.decoder = TransformerDecoder(spec)
        if d.num_denoising > 0:
            self.denoising_class_embed = nn.Embedding(classes + 1, dim, padding_idx=classes)
        self.query_pos_head = MLP([4, 2 * dim, dim])
        self.enc_output = encoder_output(spec.version, dim)
        self.enc_score_head = nn.Linear(dim, classes)
        self.enc_bbox_head = MLP([dim, dim, dim, 4])
        self.dec_score_head = nn.ModuleList(nn.Linear(dim, classes) for _ in range(d.num_layers))
        self.dec_bbox_head = nn.ModuleList(MLP([dim, dim, dim, 4]) for _ in range(d.num_layers))

    def forward(
        self, features: list[Tensor], queries: DenoisingQueries | None = None, topk_BQ: Tensor | None = None
    ) -> Outputs:
        """Maps of the encoder, one [B, C, H, W] per level, -> Outputs.

        Args:
            queries: denoising queries to put in front of the selected ones.
            topk_BQ: tokens to select in place of the best ones; for comparisons across a tie, never for training.
        """
        projected = [project(x) for project, x in zip(self.input_proj, features, strict=True)]
        spatial_shapes = [(int(x.shape[2]), int(x.shape[3])) for x in projected]
        memory_BND = torch.cat([x.flatten(2).transpose(1, 2) for x in projected], dim=1)
        selected = self._select(memory_BND, spatial_shapes, topk_BQ)
        target_BSD, reference_unact_BS4, blocked_SS = selected.content_BQD, selected.boxes_unact_BQ4, None
        if queries is not None:
            target_BSD = torch.cat([self.denoising_class_embed(queries.labels_BN), target_BSD], dim=1)
            reference_unact_BS4 = torch.cat([queries.boxes_unact_BN4, reference_unact_BS4], dim=1)
            blocked_SS = queries.blocked_SS
        layers = self._refine(target_BSD, reference_unact_BS4, memory_BND, spatial_shapes, blocked_SS)
        split = 0 if queries is None else queries.labels_BN.shape[1]
        return Outputs(
            layers=[Prediction(p.logits[:, split:], p.boxes_cxcywh[:, split:]) for p in layers],
            encoder=selected.encoder,
            denoising=[Prediction(p.logits[:, :split], p.boxes_cxcywh[:, :split]) for p in layers if split],
            queries=queries,
            topk_BQ=selected.topk_BQ,
            topk_scores_BQ=selected.scores_BQ,
        )

    def _select(
        self, memory_BND: Tensor, spatial_shapes: list[tuple[int, int]], topk_BQ: Tensor | None
    ) -> Selection:
        """The Q tokens with the highest class logit; ``topk_BQ`` gives their indices instead."""
        anchors_1N4, valid_1N1 = make_anchors(spatial_shapes, self.spec.eps, memory_BND)
        # Invalid tokens are zeroed for this head only; cross-attention still reads them.
        output_BND = self.enc_output(valid_1N1.to(memory_BND.dtype) * memory_BND)
        logits_BNK = self.enc_score_head(output_BND)
        boxes_unact_BN4 = self.enc_bbox_head(output_BND) + anchors_1N4
        best_BN = logits_BNK.max(-1).values
        if topk_BQ is None:
            topk_BQ = torch.topk(best_BN, self.spec.num_queries, dim=1).indices
        gather = topk_BQ[..., None]
        boxes_unact_BQ4 = boxes_unact_BN4.gather(1, gather.expand(-1, -1, 4))
        logits_BQK = logits_BNK.gather(1, gather.expand(-1, -1, logits_BNK.shape[-1]))
        content_BQD = output_BND.gather(1, gather.expand(-1, -1, output_BND.shape[-1]))
        encoder = Prediction(logits_BQK, boxes_unact_BQ4.sigmoid())
        scores_BQ = best_BN.gather(1, topk_BQ)
        return Selection(content_BQD.detach(), boxes_unact_BQ4.detach(), encoder, topk_BQ, scores_BQ)

    def _refine(
        self,
        target_BSD: Tensor,
        reference_unact_BS4: Tensor,
        memory_BND: Tensor,
        spatial_shapes: list[tuple[int, int]],
        blocked_SS: Tensor | None,
    ) -> list[Prediction]:
        """In training the predictions of every layer; in inference that of ``eval_layer`` only, where it stops."""
        reference_BS4 = reference_unact_BS4.sigmoid()  # what layers see: never carries a gradient
        previous_BS4 = reference_BS4  # the same boxes with their gradient (look forward twice)
        predictions = []
        for i, layer in enumerate(self.decoder.layers):
            position_BSD = self.query_pos_head(reference_BS4)
            target_BSD = layer(target_BSD, reference_BS4, memory_BND, spatial_shapes, blocked_SS, position_BSD)
            if not self.training and i < self.spec.eval_layer:
                delta_BS4 = self.dec_bbox_head[i](target_BSD)
                reference_BS4 = (delta_BS4 + inverse_sigmoid(reference_BS4)).sigmoid().detach()
                continue
            logits_BSK = self.dec_score_head[i](target_BSD)
            delta_BS4 = self.dec_bbox_head[i](target_BSD)
            boxes_BS4 = (delta_BS4 + inverse_sigmoid(reference_BS4)).sigmoid()
            if not self.training:
                return [Prediction(logits_BSK, boxes_BS4)]
            # Same value as boxes_BS4 from layer 1 on, but layer i's box loss also reaches layer i - 1.
            refined_BS4 = boxes_BS4 if i == 0 else (delta_BS4 + inverse_sigmoid(previous_BS4)).sigmoid()
            predictions.append(Prediction(logits_BSK, refined_BS4))
            previous_BS4, reference_BS4 = boxes_BS4, boxes_BS4.detach()
        return predictions


def make_anchors(spatial_shapes: list[tuple[int, int]], eps: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """Anchor logits [1, N, 4] (cxcywh, side 0.05 * 2^level) and validity [1, N, 1].

    Anchors within ``eps`` of the border are invalid and get the logit +inf, as in the official code. They are at
    least in float32, also where ``like`` is in half precision.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    return _make_anchors(tuple(spatial_shapes), eps, dtype, like.device)


@functools.lru_cache(maxsize=32)  # the same in every pass; nobody writes to them
def _make_anchors(
    spatial_shapes: tuple[tuple[int, int], ...], eps: float, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    anchors = []
    for level, (h, w) in enumerate(spatial_shapes):
        y, x = torch.meshgrid(
            torch.arange(h, dtype=dtype, device=device), torch.arange(w, dtype=dtype, device=device), indexing="ij"
        )
        centre_HW2 = torch.stack([(x + 0.5) / w, (y + 0.5) / h], dim=-1)
        side_HW2 = torch.full_like(centre_HW2, 0.05 * 2.0**level)
        anchors.append(torch.cat([centre_HW2, side_HW2], dim=-1).reshape(1, h * w, 4))
    anchors_1N4 = torch.cat(anchors, dim=1)
    valid_1N1 = ((anchors_1N4 > eps) & (anchors_1N4 < 1 - eps)).all(-1, keepdim=True)
    logits_1N4 = torch.log(anchors_1N4 / (1 - anchors_1N4))
    return torch.where(valid_1N1, logits_1N4, torch.inf), valid_1N1
