"""Every limit of the parity tests, with its origin. Limits are derived or measured, never raised to pass.

Same function (float64): all frameworks compute the same formula, so they differ by rounding only, about 1e-16
times the conditioning. A structural error is of order one. Ceilings by policy: 1e-10 forward and 1e-8 for
gradients. A limit below is about 30 times the worst value measured on the development machine (2 cores, oneDNN 2.6,
torch 2.13, Jittor 1.3.11) over the models of parity_tests/cases/subjects.py, or the ceiling if that is smaller.

Same arithmetic (float32): a framework's error against the float64 truth must stay within ``FLOAT32_FACTOR`` times
the other side's, both ways, per tensor. A sum of a few thousand float32 products loses ``FLOAT32_FLOOR`` anyway;
below it the ratio of two errors has no meaning. A single number may be right by luck, so that all single numbers of
a stage have the largest error among them.
"""

FLOAT64 = {
    "forward": 1e-11,
    "query selection": 1e-11,
    "losses": 1e-11,
    "matching costs": 5e-12,
    "matching": 0.0,
    "backward": 1e-10,
    "gradient norm": 1e-11,
    "norm statistics": 1e-12,
    "activations": 3e-11,
    "module forward": 1e-12,
    "post-processing": 1e-12,
    "denoising queries": 1e-12,
    "update": 1e-8,
    "moments": 1e-10,
    "EMA": 5e-12,
}

# Measured with float32_spread.py (its summary: parity_tests/float32_spread.toml): with the decisions forced, the
# errors of the two frameworks lie within a factor of 3 in 99.8 % of the tensors and, but for kinks, within 8.5 in
# all (a bias of four numbers). Updates lie within 2.5, because both frameworks lose the same digits by storing the
# parameter.
FLOAT32_FACTOR = 10.0
FLOAT32_FACTORS = {"update": 3.0}
FLOAT32_FLOOR = 1e-6
# PyTorch adds the squares of all gradients in float32: for the 20 million of r18vd the norm is 1.2e-5 off, and the
# moments of the clipped gradients with it, the second ones by twice that. Jittor's twin adds them in float64.
FLOAT32_FLOORS = {"gradient norm": 1e-5, "moments": 1e-5}
# All tensors of several steps as one vector (test_steps.py): AdamW makes a sign of every gradient, and one that
# differs at the first step has changed all later ones. Measured: errors up to 0.14 that differ by up to 70 times.
POOLED = "all tensors together"
FLOAT32_POOLED_FACTOR = 30.0
FLOAT32_CEILING = 0.5  # no limit is above it, so that zeros always fail
FLOAT32_OFFICIAL_FACTOR = 30.0  # beside the official float32 code, whose constants are in float32 too

# ReLU, |x| and bilinear sampling have kinks. Behind a whole model in float32 a pre-activation within rounding
# of zero may fall on the other side, and the gradient of that unit appears or vanishes: a decision, not an
# error. Such a unit shows in the gradient of its own bias, one number among many that agree: with it left out (up
# to FLIPPED_UNITS of them) the bias has to be within its limit. Only where that is so, in 4 of 57 passes, do the
# gradients of its module and of those before it have an allowance: about eight matched queries with some 128
# active units each carry a head's gradient, so one flip moves it by about 1 / sqrt(1000) = 3 % (seen: 3.4 % in
# dec_bbox_head.2 of r18vd in Jittor). Float64 has no allowance, so that it hides no wrong formula.
FLOAT32_KINKS = {"backward": 0.1}
FLIPPED_UNITS = 3

# What published ports promise; reported beside the limits above, never used in their place.
PUBLISHED = {
    "forward": 1e-5,
    "module forward": 1e-5,
    "losses": 1e-3,
    "backward": 1e-4,
    "update": 1e-6,
}
PUBLISHED_AP = 0.03  # relative difference of two average precisions

# The oracle stores float64 results of the official implementation. By policy: logits, boxes and losses
# 1e-10 for PyTorch (the oracle's own framework) and 1e-8 for Jittor; gradient norms 1e-8 and samples 1e-6.
# Jittor's constants were all made float64, so both twins are held to the tighter set.
ORACLE = {
    "outputs": 1e-11,
    "losses": 1e-11,
    "activations": 1e-11,
    "gradient norms": 1e-9,
    "gradient samples": 1e-9,
    "parameters": 1e-10,
    "moments and EMA": 1e-10,
}

# The exported ONNX graph. In float64 it keeps the 0.05 of the anchors in float32, 7e-10 away: seen 4e-9. In float32
# another library's kernels compute it, with errors like the twins' own (FLOAT32_FACTOR times FLOAT32_FLOOR).
ONNX = {"float64": 1e-8, "float32": 3e-5}

# The stored parameters are of order one in float64, so that a sampled change of order 1e-5 is known to about 1e-11,
# which is 1e-6 of it. Changes below SMALLEST_CHANGE are not compared.
ORACLE_CHANGES = 1e-6
SMALLEST_CHANGE = 1e-9

# Parameters (regular expressions for their names) whose gradient is zero but for rounding, each with the reason.
# The relative error of such a gradient, of its moments and its update is noise over noise, so that it is measured
# against the largest norm of its kind, where its own is below NEGLIGIBLE times that. The threshold is the oracle's
# (docs/proof.md, "The oracle"). It holds rounding only, less than ORACLE_ZERO of the largest norm. Every other
# tensor is measured against its own norm, however small.
CONSTANT = "a constant for each channel, which 1x1 convolutions pass on and batch norms in training mode subtract"
ANALYTIC_ZEROS = {
    r"encoder\.input_proj\.\d+\.(1|norm)\.bias": CONSTANT,
    r"encoder\.encoder\.\d+\.layers\.\d+\.norm2\.bias": CONSTANT,
    r"backbone\.stages\.\d+\.downsample\.bn\.bias": CONSTANT,
}
NEGLIGIBLE = 1e-6
ORACLE_ZERO = 1e-12

# The official float64 with constants that it computes in float32 (test_oracle_variants.py): the difference between
# a framework and this variant is the effect of these constants, up to CONSTANTS_SHARE of the effect. An effect
# below CONSTANTS_REACH (relative) is compared by its size alone: rounding (1e-12 in gradients) is no small part of
# it.
CONSTANTS_SHARE = 0.01
CONSTANTS_REACH = 1e-9

# Hugging Face's implementation with our weights, constants and noise, run in the session in float64: the same
# function again. The limits are about 30 times the worst value measured over the subjects of
# test_huggingface.py (development machine, transformers 5.23). The worst is always the Jittor twin's, in training
# mode: there small batch norms lose digits, most of all those of the small HGNetv2, which see 18 pixels. The
# PyTorch twin stays below 6e-13.
HUGGINGFACE = {
    "forward": 2e-11,
    "query selection": 3e-11,
    "activations": 5e-11,
    "losses": 2e-11,
    "matching costs": 2e-11,
    "matching": 0.0,
    "backward": 1e-10,
    "norm statistics": 1e-11,
    "denoising queries": 1e-12,
    "post-processing": 1e-12,
}

# Probes of known differences from Hugging Face: an error above HF_DIFFERS shows the difference, one below HF_AGREES
# shows that nothing else differs. Rounding stays below 1e-12 for the small models of the probes, a different
# formula is of order one. Gradients have the limit HUGGINGFACE["backward"].
HF_AGREES = 1e-12
HF_DIFFERS = 1e-6

# The official presets at full depth amplify rounding more than the subjects above: with the drawn weights, one
# unit in the last place of the images moves PyTorch's own losses by 2e-12 in RegNet, 40 times as far as in r50vd
# (128 px; no better at 256). Same rule: the worst of the zoo (losses 1.3e-11, activations 2e-11, gradients 3e-11,
# all of them RegNet's) times about 30, at most the ceiling of the policy.
ZOO64 = FLOAT64 | {
    "forward": 1e-10,
    "query selection": 1e-10,
    "losses": 1e-10,
    "matching costs": 1e-10,
    "activations": 1e-10,
    "backward": 1e-9,
}

# A fused model against the unfused one, in float64: the promise made to users; measured: 4e-15.
DEPLOY = 1e-12

# Relations between float32 numbers of one framework (test_contract.py): the total is the sum of some ten loss terms
# and boxes scale with the image.
FLOAT32_SUM = 1e-5
FLOAT32_SCALED = 1e-6

# Predictions of two implementations in float64 on a user's weights (``weights.py verify``) or on drawn ones before
# they are timed (``benchmark.py``): rounding times the conditioning of a trained model.
SAME_PREDICTIONS = 1e-9
# The official code builds anchors and position embeddings in float32 even for float64 weights: 1e-8 to 1e-7.
SAME_PREDICTIONS_OFFICIAL = 1e-6


def float64_limit(stage: str, tensor: str) -> float:
    """The limit of a stage in float64; numbers of steps must be equal. Raises KeyError for a stage without one."""
    return 0.0 if tensor.startswith("steps/") else FLOAT64[stage]


def float32_limit(stage: str, tensor: str, error: float) -> float:
    """The limit of a tensor in float32 where the other side's error is ``error``."""
    factor = FLOAT32_FACTORS.get(stage, FLOAT32_FACTOR)
    if tensor.endswith(POOLED):
        factor = FLOAT32_POOLED_FACTOR
    return min(factor * max(error, FLOAT32_FLOORS.get(stage, FLOAT32_FLOOR)), FLOAT32_CEILING)


def zoo_limit(stage: str, tensor: str) -> float:
    """The limit of a stage in float64 for the official presets of test_zoo.py."""
    return ZOO64[stage]
