"""A gated network as it was written first: vectors [B, 6] -> one number each."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GatedBlock(nn.Module):
    """Gate times value, back to the width, beside a skip connection."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(dim)
        self.gate, self.value, self.out = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        """[B, D] -> [B, D]."""
        y = self.norm(x)
        return x + self.scale * self.out(F.silu(self.gate(y)) * self.value(y))


class Network(nn.Module):
    """Two blocks and a regression head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = GatedBlock(6), GatedBlock(6)
        self.head = nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 6] -> [B, 1]."""
        return self.head(self.second(self.first(x)))
