"""Deep Layer Aggregation (Yu et al., arXiv 1707.06484) as RT-DETR uses it (official DLANet): DLA-34.

Shape suffixes: B batch, C channels, H height, W width.
"""

from collections.abc import Sequence

import jittor as jt
from jittor import Var, nn

from frameworks.config import DLASpec
from frameworks.jittor_rtdetr.backbones.freezing import batch_norm, freeze
from frameworks.jittor_rtdetr.layers import Conv2d, chain


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; the tree gives the residual to add."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, frozen: bool) -> None:
        super().__init__()
        self.conv1 = Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = batch_norm(channels_out, frozen)
        self.conv2 = Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = batch_norm(channels_out, frozen)

    def execute(self, x_BCHW: Var, residual_BCHW: Var) -> Var:
        """[B, C_in, H, W] and the residual [B, C_out, H / stride, W / stride] -> the residual's shape."""
        y_BCHW = nn.relu(self.bn1(self.conv1(x_BCHW)))
        return nn.relu(self.bn2(self.conv2(y_BCHW)) + residual_BCHW)


class Root(nn.Module):
    """Aggregation: a 1x1 convolution over the concatenated channels of all children."""

    def __init__(self, channels_in: int, channels_out: int, frozen: bool) -> None:
        super().__init__()
        self.conv = Conv2d(channels_in, channels_out, 1, bias=False)
        self.bn = batch_norm(channels_out, frozen)

    def execute(self, children: Sequence[Var]) -> Var:
        """Maps [B, C_i, H, W] -> [B, C_out, H, W]."""
        return nn.relu(self.bn(self.conv(jt.concat(list(children), dim=1))))


class Tree(nn.Module):
    """Two blocks in sequence; their root aggregates both, the given children and, with ``level_root``, the input.

    ``inherited`` is the number of channels of the given children.
    """

    def __init__(
        self, channels_in: int, channels_out: int, stride: int, level_root: bool, inherited: int, frozen: bool
    ) -> None:
        super().__init__()
        self.stride, self.level_root = stride, level_root
        width = 2 * channels_out + inherited + (channels_in if level_root else 0)
        self.tree1 = BasicBlock(channels_in, channels_out, stride, frozen)
        self.tree2 = BasicBlock(channels_out, channels_out, 1, frozen)
        self.root = Root(width, channels_out, frozen)
        self.project = None
        if channels_in != channels_out:
            self.project = nn.Sequential(
                Conv2d(channels_in, channels_out, 1, bias=False), batch_norm(channels_out, frozen)
            )

    def execute(self, x_BCHW: Var, children: Sequence[Var] = ()) -> Var:
        """[B, C_in, H, W] and children [B, C_i, H / stride, W / stride] -> [B, C_out, H / stride, W / stride]."""
        bottom_BCHW = _pool(x_BCHW, self.stride)
        residual_BCHW = bottom_BCHW if self.project is None else self.project(bottom_BCHW)
        first_BCHW = self.tree1(x_BCHW, residual_BCHW)
        second_BCHW = self.tree2(first_BCHW, first_BCHW)
        bottom = [bottom_BCHW] if self.level_root else []
        return self.root([second_BCHW, first_BCHW, *children, *bottom])


class DeepTree(nn.Module):
    """Two sub-trees in sequence; the last root of the second also aggregates the first and, with ``level_root``,
    the input."""

    def __init__(
        self,
        depth: int,
        channels_in: int,
        channels_out: int,
        stride: int,
        level_root: bool,
        inherited: int,
        frozen: bool,
    ) -> None:
        super().__init__()
        self.stride, self.level_root = stride, level_root
        inherited += channels_out + (channels_in if level_root else 0)
        self.tree1 = _tree(depth - 1, channels_in, channels_out, stride, False, 0, frozen)
        self.tree2 = _tree(depth - 1, channels_out, channels_out, 1, False, inherited, frozen)

    def execute(self, x_BCHW: Var, children: Sequence[Var] = ()) -> Var:
        """[B, C_in, H, W] and children [B, C_i, H / stride, W / stride] -> [B, C_out, H / stride, W / stride]."""
        bottom = [_pool(x_BCHW, self.stride)] if self.level_root else []
        first_BCHW = self.tree1(x_BCHW)
        return self.tree2(first_BCHW, [*children, *bottom, first_BCHW])


def _tree(
    depth: int, channels_in: int, channels_out: int, stride: int, level_root: bool, inherited: int, frozen: bool
) -> Tree | DeepTree:
    if depth == 1:
        return Tree(channels_in, channels_out, stride, level_root, inherited, frozen)
    return DeepTree(depth, channels_in, channels_out, stride, level_root, inherited, frozen)


def _pool(x_BCHW: Var, stride: int) -> Var:
    return x_BCHW if stride == 1 else nn.max_pool2d(x_BCHW, stride, stride)


def _convolutions(
    channels_in: int, channels_out: int, kernel: int, stride: int, count: int, frozen: bool
) -> nn.Sequential:
    """``count`` repetitions of convolution, norm and ReLU; only the first convolution has the stride."""
    layers = []
    for i in range(count):
        width, step = (channels_in, stride) if i == 0 else (channels_out, 1)
        layers += [Conv2d(width, channels_out, kernel, step, (kernel - 1) // 2, bias=False)]
        layers += [batch_norm(channels_out, frozen), nn.ReLU()]
    return nn.Sequential(*layers)


class Levels(nn.Module):
    """A 7x7 convolution at full resolution, two levels of plain convolutions, four levels of trees."""

    def __init__(self, spec: DLASpec) -> None:
        super().__init__()
        c, n, frozen = spec.channels, spec.levels, spec.freeze_norm
        self.base_layer = _convolutions(3, c[0], 7, 1, 1, frozen)
        self.level0 = _convolutions(c[0], c[0], 3, 1, n[0], frozen)
        self.level1 = _convolutions(c[0], c[1], 3, 2, n[1], frozen)
        self.level2 = _tree(n[2], c[1], c[2], 2, False, 0, frozen)
        self.level3 = _tree(n[3], c[2], c[3], 2, True, 0, frozen)
        self.level4 = _tree(n[4], c[3], c[4], 2, True, 0, frozen)
        self.level5 = _tree(n[5], c[4], c[5], 2, True, 0, frozen)

    def execute(self, images_B3HW: Var) -> list[Var]:
        """[B, 3, H, W] -> four maps [B, C_i, H / s, W / s] with s = 4, 8, 16, 32."""
        x_BCHW = self.level1(self.level0(self.base_layer(images_B3HW)))
        return chain((self.level2, self.level3, self.level4, self.level5), x_BCHW)


class DLA(nn.Module):
    """The levels of trees are its stages; returns those in ``return_idx``."""

    def __init__(self, spec: DLASpec) -> None:
        super().__init__()
        self.return_idx = spec.return_idx
        self.model = m = Levels(spec)
        freeze([m.base_layer, m.level0, m.level1], [m.level2, m.level3, m.level4, m.level5], spec.freeze_at)

    def execute(self, images_B3HW: Var) -> list[Var]:
        """Images [B, 3, H, W] in [0, 1] -> maps [B, C_i, H / s_i, W / s_i]: the spec has C_i and s_i."""
        features = self.model(images_B3HW)
        return [features[i] for i in self.return_idx]
