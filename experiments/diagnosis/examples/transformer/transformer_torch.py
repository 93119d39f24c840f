"""A small pre-norm transformer in PyTorch: tokens [B, S] -> scores of the next token [B, S, V]."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Positions(nn.Module):
    """Adds a trained vector to each place."""

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(length, dim) * 0.1)

    def forward(self, x_BSD: Tensor) -> Tensor:
        """[B, S, D] -> [B, S, D]."""
        return x_BSD + self.table[: x_BSD.shape[1]]


class Attention(nn.Module):
    """Self-attention of several heads over the tokens so far."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x_BSD: Tensor, blocked_SS: Tensor) -> Tensor:
        """[B, S, D] -> [B, S, D]; ``blocked_SS``: True where a token (row) must not see another."""
        b, s, d = x_BSD.shape
        query, key, value = (
            part(x_BSD).reshape(b, s, self.heads, d // self.heads).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        scores_BHSS = query @ key.transpose(2, 3) / math.sqrt(d // self.heads)
        scores_BHSS = scores_BHSS.masked_fill(blocked_SS, -1e9)
        weights_BHSS = torch.exp(scores_BHSS - scores_BHSS.detach().amax(-1, keepdim=True))
        weights_BHSS = weights_BHSS / weights_BHSS.sum(-1, keepdim=True)
        return self.out((weights_BHSS @ value).transpose(1, 2).reshape(b, s, d))


class Layer(nn.Module):
    """Attention and feed-forward, each behind a norm and beside a skip connection."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.up, self.down = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def forward(self, x_BSD: Tensor, blocked_SS: Tensor) -> Tensor:
        """[B, S, D] -> [B, S, D]."""
        x_BSD = x_BSD + self.attention(self.norm1(x_BSD), blocked_SS=blocked_SS)
        return x_BSD + self.down(F.gelu(self.up(self.norm2(x_BSD))))


class SmallTransformer(nn.Module):
    """Embedding, positions, two layers, norm and scores."""

    def __init__(self, vocabulary: int = 11, length: int = 8, dim: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim)
        self.positions = Positions(length, dim)
        self.layers = nn.ModuleList(Layer(dim, heads) for _ in range(2))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, vocabulary)

    def forward(self, tokens_BS: Tensor) -> Tensor:
        """Tokens [B, S] -> scores [B, S, V]."""
        places = torch.arange(tokens_BS.shape[1])
        blocked_SS = places[:, None] < places[None, :]
        x_BSD = self.positions(self.embed(tokens_BS))
        for layer in self.layers:
            x_BSD = layer(x_BSD, blocked_SS)
        return self.head(self.norm(x_BSD))
