"""Operations of a fused model, derived from those of the model before."""

from collections.abc import Mapping


def flops_after_fusion(counted: Mapping[str, int]) -> int:
    """The whole model's operations in deploy form, from those in train form.

    Fusing norms changes no product; each RepVGG block loses its 1x1 convolution.
    """
    return counted[""] - sum(
        n for path, n in counted.items() if path.endswith(".conv2") and ".bottlenecks." in path
    )
