"""A small residual network with a gate, in PyTorch: images [B, 3, H, W] -> class scores [B, 5]."""

import torch
from torch import Tensor, nn


class ConvNorm(nn.Module):
    """Convolution, batch norm and ReLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, D, H / stride, W / stride]."""
        return torch.relu(self.norm(self.conv(x)))


class Gate(nn.Module):
    """Scales channels by what their means say; no gradient flows through the means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        weight_BC = torch.sigmoid(self.fc(x.detach().mean((2, 3))))
        return x * weight_BC[:, :, None, None]


class SmallCNN(nn.Module):
    """Stem, a block with a skip connection, gate, classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 8, stride=2)
        self.block = ConvNorm(8, 8, stride=1)
        self.gate = Gate(8)
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] -> scores [B, 5]."""
        x = self.stem(images)
        x = self.gate(x + self.block(x))
        return self.head(x.mean((2, 3)))
