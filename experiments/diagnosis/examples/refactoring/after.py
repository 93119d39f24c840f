"""The gated network after a refactoring: norm and activation by hand, blocks in a list, other names."""

import torch
from torch import Tensor, nn


class Norm(nn.Module):
    """Batch norm over [B, D]."""

    def __init__(self, dim: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """[B, D] -> [B, D]."""
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, unbiased=False)
            with torch.no_grad():
                self.running_mean += self.momentum * (mean - self.running_mean)
                self.running_var += self.momentum * (x.var(0) - self.running_var)
        return (x - mean) / torch.sqrt(var + self.eps) * self.weight + self.bias


class Block(nn.Module):
    """Gate times value, back to the width, beside a skip connection."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = Norm(dim)
        self.w1, self.w2, self.w3 = (nn.Linear(dim, dim) for _ in range(3))
        self.gamma = nn.Parameter(torch.full((dim,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        """[B, D] -> [B, D]."""
        y = self.norm(x)
        gate = self.w1(y)
        return x + self.gamma * self.w3(gate * torch.sigmoid(gate) * self.w2(y))


class Network(nn.Module):
    """Two blocks and a regression head."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(6), Block(6))
        self.head = nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 6] -> [B, 1]."""
        return self.head(self.blocks(x))
