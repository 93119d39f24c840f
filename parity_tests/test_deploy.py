"""Deploy form: a fused model computes the function of the unfused one, in each framework and across frameworks."""

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch

import frameworks
from frameworks.arrays import Arrays
from frameworks.config import ModelSpec
from frameworks.judge.compare import Comparison, compare
from frameworks.protocol import Case
from frameworks.shared.tolerances import DEPLOY
from frameworks.shared.trace_names import prefixed
from frameworks.torch_rtdetr import deploy, exchange
from frameworks.torch_rtdetr.layers import ConvNorm
from parity_tests.agreement import DTYPES, assert_agreement
from parity_tests.cases import subjects
from parity_tests.traces import TRUTH, Traces

NORM = ("bias", "running_mean", "running_var")  # beside the weight


def predictions(trace: Arrays) -> Arrays:
    """The trace without norm statistics, which a fused model does not have."""
    return {name: array for name, array in trace.items() if name.startswith(("forward/", "select/"))}


def check_fusion(subject: subjects.Subject, framework: str, traces: Traces, record) -> None:
    """Compare the fused with the unfused model of one framework, in float64."""
    case, where = Case("forward", subject.spec), (framework, "float64", "cpu")
    unfused = traces.run(case, subject, subject.images(), *where)
    fused = traces.run(replace(case, deploy=True), subject, subject.images(), *where)
    setting = record(subject, "deploy form", "float64", "cpu")
    found = compare(predictions(fused), predictions(unfused), lambda stage, tensor: DEPLOY, setting.modules)
    setting.check(found, framework, "self")


# Small models here; r18vd with all other presets below.
@pytest.mark.parametrize("framework", frameworks.ADAPTERS)
@pytest.mark.parametrize("name", [name for name in subjects.SUBJECTS if name != "rtdetr_r18vd"])
def test_fused_is_unfused(name, framework, traces: Traces, record):
    check_fusion(subjects.subject(name), framework, traces, record)


@pytest.mark.zoo
@pytest.mark.parametrize("framework", frameworks.ADAPTERS)
@pytest.mark.parametrize("name", subjects.OFFICIAL)
def test_every_preset(name, framework, traces: Traces, record):
    check_fusion(subjects.zoo_subject(name), framework, traces, record)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["tiny", "tiny_hgnetv2"])
def test_fused_twins(name, dtype, traces: Traces, record):
    """All frameworks fuse to the same function; in float32 with the truth's top-k."""
    subject = subjects.subject(name)
    case, inputs = Case("forward", subject.spec, deploy=True), subject.images()
    truth = traces.run(case, subject, inputs, *TRUTH)
    if dtype == "float32":
        unfused = traces.run(replace(case, deploy=False), subject, inputs, *TRUTH)
        inputs |= {"forced/topk": unfused["select/topk"]}
    traced = traces.run_all(case, subject, inputs, dtype, "cpu")
    outputs = {framework: predictions(trace) for framework, trace in traced.items()}
    assert_agreement(outputs, predictions(truth), record(subject, "deploy form", dtype, "cpu"))


def fused_state(framework: str, spec: ModelSpec, weights: Arrays) -> Arrays:
    """The state of a twin's fused model in float64, in this process."""
    if framework == "torch":
        model = exchange.build(spec, weights, "cpu", torch.float64)
        deploy.deploy(model)
        return exchange.state_arrays(model)
    frameworks.load("jittor")  # starts Jittor
    from frameworks.jittor_rtdetr import deploy as jittor_deploy
    from frameworks.jittor_rtdetr import exchange as jittor_exchange

    other = jittor_exchange.build(spec, weights, "float64")
    jittor_deploy.deploy(other)
    return jittor_exchange.state_arrays(other)


def folded(weights: Arrays) -> Arrays:
    """What the fused state has to be, from the weights in NumPy: no norm, and 3x3 kernels that hold the 1x1 ones.

    A norm stands right behind its convolution in the order of the official ``state_dict``.
    """
    state, conv = {}, ""
    for name, array in weights.items():
        path, _, leaf = name.rpartition(".")
        if f"{path}.running_mean" not in weights:
            state[name] = array.astype(np.float64)
            conv = path if array.ndim == 4 else conv
        elif leaf == "weight":
            bias_C, mean_C, variance_C = (weights[f"{path}.{key}"].astype(np.float64) for key in NORM)
            scale_C = array.astype(np.float64) / np.sqrt(variance_C + 1e-5)
            state[f"{conv}.weight"] = state[f"{conv}.weight"] * scale_C[:, None, None, None]
            shift_C = bias_C - mean_C * scale_C
            state[f"{conv}.bias"] = state.get(f"{conv}.bias", 0.0) * scale_C + shift_C
    for name in [name for name in state if ".bottlenecks." in name and ".conv2.conv." in name]:
        merged, one = name.replace(".conv2.", ".conv1."), state.pop(name)
        state[merged] = state[merged] + (np.pad(one, ((0, 0), (0, 0), (1, 1), (1, 1))) if one.ndim == 4 else one)
    return state


def unfolded(framework: str, name: str) -> list[Comparison]:
    """Parameters of a fused twin that are not the closed form's."""
    subject = subjects.subject(name)
    ours, theirs = fused_state(framework, subject.spec.model, subject.weights()), folded(subject.weights())
    found = compare(prefixed("parameter", ours), prefixed("parameter", theirs), lambda stage, tensor: DEPLOY)
    return [comparison for comparison in found if not comparison.passed]


@pytest.mark.parametrize("framework", [name for name in ("torch", "jittor") if name in frameworks.ADAPTERS])
@pytest.mark.parametrize("name", subjects.TINY)
def test_every_norm_is_folded(name, framework):
    """Outputs would be the same with norms that were left: so the state itself is compared with the closed form."""
    assert not any("running_" in key for key in folded(subjects.subject(name).weights()))
    found = unfolded(framework, name)
    assert not found, "\n".join(comparison.describe("float64", "cpu") for comparison in found[:20])


def _padded_to_a_corner(kernel: torch.Tensor, _: object) -> torch.Tensor:
    return PAD(kernel, (0, 2, 0, 2))


def _without_mean(module: torch.nn.Module) -> None:
    for name, statistic in module.named_buffers():
        if name.endswith("running_mean"):
            statistic.zero_()
    FOLD(module)


PAD, FOLD = torch.nn.functional.pad, deploy.fold_norms


@pytest.mark.parametrize(
    "patch",
    [
        mock.patch.object(deploy.F, "pad", _padded_to_a_corner),
        mock.patch.object(deploy, "fold_norms", _without_mean),
    ],
    ids=["1x1 kernel in a corner", "running mean forgotten"],
)
def test_planted_fusion_fault(patch):
    """The limit of this file finds a wrong fusion."""
    subject = subjects.subject("tiny")
    twin = frameworks.load("torch")
    weights, images = subject.weights(), subject.images()
    unfused = twin.trace(Case("forward", subject.spec), weights, images, device="cpu", dtype="float64")
    with patch:
        case = Case("forward", subject.spec, deploy=True)
        fused = twin.trace(case, weights, images, device="cpu", dtype="float64")
    found = compare(predictions(fused), predictions(unfused), lambda stage, tensor: DEPLOY)
    assert not all(comparison.passed for comparison in found)


def _all_but_some(module: torch.nn.Module) -> None:
    if not (isinstance(module, ConvNorm) and module.conv.out_channels == 12):
        FOLD(module)


def test_a_norm_that_is_left_is_seen():
    """It computes the same, so that no output shows it."""
    with mock.patch.object(deploy, "fold_norms", _all_but_some):
        found = unfolded("torch", "tiny")
    assert any("running_mean" in comparison.tensor for comparison in found)


def test_a_fused_model_is_not_trained():
    with pytest.raises(ValueError, match="inference"):
        Case("loss", subjects.subject("tiny").spec, training=True, deploy=True)
