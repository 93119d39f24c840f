"""The small residual network, ported to Jittor."""

import jittor as jt
from jittor import Var, nn


class BatchNorm(nn.Module):
    """Batch norm with PyTorch's running variance: that of a sample, n - 1 in the denominator."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = jt.ones((channels,)), jt.zeros((channels,))
        self.running_mean = jt.zeros((channels,)).stop_grad()
        self.running_var = jt.ones((channels,)).stop_grad()

    def execute(self, x: Var) -> Var:
        """[B, C, H, W] -> [B, C, H, W]."""
        mean, var = self.running_mean, self.running_var
        if self.is_train:
            count = x.shape[0] * x.shape[2] * x.shape[3]
            mean = x.sum((0, 2, 3)) / count
            centred = x - mean[None, :, None, None]
            var = (centred * centred).sum((0, 2, 3)) / count
            self.running_mean = (0.9 * self.running_mean + 0.1 * mean).stop_grad()
            self.running_var = (0.9 * self.running_var + 0.1 * var * (count / (count - 1))).stop_grad()
        scale = self.weight / jt.sqrt(var + 1e-5)
        return (x - mean[None, :, None, None]) * scale[None, :, None, None] + self.bias[None, :, None, None]


class ConvBlock(nn.Module):
    """Convolution, batch norm and ReLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn = BatchNorm(channels_out)

    def execute(self, x: Var) -> Var:
        """[B, C, H, W] -> [B, D, H / stride, W / stride]."""
        return nn.relu(self.bn(self.conv(x)))


class ChannelGate(nn.Module):
    """Scales channels by what their means say; no gradient flows through the means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)

    def execute(self, x: Var) -> Var:
        """[B, C, H, W] -> [B, C, H, W]."""
        weight_BC = jt.sigmoid(self.linear(x.detach().mean((2, 3))))
        return x * weight_BC[:, :, None, None]


class SmallCNN(nn.Module):
    """Stem, a block with a skip connection, gate, classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ConvBlock(3, 8, stride=2)
        self.layer1 = ConvBlock(8, 8, stride=1)
        self.gate = ChannelGate(8)
        self.fc = nn.Linear(8, 5)

    def execute(self, images: Var) -> Var:
        """Images [B, 3, H, W] -> scores [B, 5]."""
        x = self.conv1(images)
        x = self.gate(x + self.layer1(x))
        return self.fc(x.mean((2, 3)))
