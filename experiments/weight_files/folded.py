"""Restore a batch norm that was folded into its convolution, as a norm that only adds the bias."""

import numpy as np

from frameworks.arrays import Arrays
from frameworks.state.named_shapes import Shape

EPS = 1e-5  # of every batch norm in the twins (PyTorch's own)


def norms_of_convolutions(shapes: dict[str, Shape]) -> dict[str, str]:
    """Module path of each convolution -> path of the norm behind it, which is the next in canonical order."""
    pairs, convolution = {}, ""
    for name, shape in shapes.items():
        module, _, leaf = name.rpartition(".")
        if leaf == "weight" and len(shape) == 4:
            convolution = module
        elif leaf == "running_mean":
            pairs[convolution] = module
    return pairs


def unfold(arrays: Arrays, shapes: dict[str, Shape]) -> tuple[Arrays, dict[str, str]]:
    """Turn the biases of convolutions that have none in this model into norms.

    Folding made w' = w g / sqrt(v + eps) and b' = beta - mean g / sqrt(v + eps). With w' as the convolution, the
    norm has to be x + b': weight 1, bias b', mean 0 and variance 1 - eps, so that sqrt(variance + eps) is 1.
    A bias without its convolution's weight stays as it is.

    Returns:
        the arrays with these norms, and {name of a bias: path of its norm}.
    """
    unfolded, folded = dict(arrays), {}
    for convolution, norm in norms_of_convolutions(shapes).items():
        bias, weight = arrays.get(f"{convolution}.bias"), f"{convolution}.weight"
        has_norm = any(f"{norm}.{leaf}" in arrays for leaf in ("weight", "bias", "running_mean", "running_var"))
        if bias is None or f"{convolution}.bias" in shapes or weight not in arrays or has_norm:
            continue
        del unfolded[f"{convolution}.bias"]
        unfolded |= {
            f"{norm}.weight": np.ones_like(bias),
            f"{norm}.bias": bias,
            f"{norm}.running_mean": np.zeros_like(bias),
            f"{norm}.running_var": np.full_like(bias, 1 - EPS),
        }
        folded[f"{convolution}.bias"] = norm
    return unfolded, folded
