"""The small transformer, ported to Jittor."""

import math

import jittor as jt
from jittor import Var, nn


class Positions(nn.Module):
    """Adds a trained vector to each place."""

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        self.table = jt.randn((length, dim)) * 0.1

    def execute(self, x_BSD: Var) -> Var:
        """[B, S, D] -> [B, S, D]."""
        return x_BSD + self.table[: x_BSD.shape[1]]


class Attention(nn.Module):
    """Self-attention of several heads over the tokens so far."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(dim, dim) for _ in range(4))

    def execute(self, x_BSD: Var, blocked_SS: Var) -> Var:
        """[B, S, D] -> [B, S, D]; ``blocked_SS``: True where a token (row) must not see another."""
        b, s, d = x_BSD.shape
        query, key, value = (
            part(x_BSD).reshape((b, s, self.heads, d // self.heads)).transpose(1, 2)
            for part in (self.wq, self.wk, self.wv)
        )
        scores_BHSS = jt.matmul(query, key.transpose(2, 3)) / math.sqrt(d // self.heads)
        scores_BHSS = jt.where(blocked_SS.broadcast(scores_BHSS), jt.full_like(scores_BHSS, -1e9), scores_BHSS)
        weights_BHSS = jt.exp(scores_BHSS - scores_BHSS.detach().max(-1, keepdims=True))
        weights_BHSS = weights_BHSS / weights_BHSS.sum(-1, keepdims=True)
        return self.wo(jt.matmul(weights_BHSS, value).transpose(1, 2).reshape((b, s, d)))


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm and beside a skip connection."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.up, self.down = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def execute(self, x_BSD: Var, blocked_SS: Var) -> Var:
        """[B, S, D] -> [B, S, D]."""
        x_BSD = x_BSD + self.attn(self.ln1(x_BSD), blocked_SS)
        return x_BSD + self.down(gelu(self.up(self.ln2(x_BSD))))


class SmallTransformer(nn.Module):
    """Embedding, positions, two layers, norm and scores."""

    def __init__(self, vocabulary: int = 11, length: int = 8, dim: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, dim)
        self.positions = Positions(length, dim)
        self.blocks = nn.ModuleList([Block(dim, heads) for _ in range(2)])
        self.ln = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, vocabulary)

    def execute(self, tokens_BS: Var) -> Var:
        """Tokens [B, S] -> scores [B, S, V]."""
        places = jt.arange(tokens_BS.shape[1])
        blocked_SS = places[:, None] < places[None, :]
        x_BSD = self.positions(self.tokens(tokens_BS))
        for block in self.blocks:
            x_BSD = block(x_BSD, blocked_SS)
        return self.head(self.ln(x_BSD))


def gelu(x: Var) -> Var:
    """x times the share of the normal distribution below it, exactly."""
    return x * 0.5 * (1 + jt.erf(x / math.sqrt(2)))
