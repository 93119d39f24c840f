"""Deploy form: a fused model computes the function of the unfused one, in each framework and across frameworks."""

from dataclasses import replace
from unittest import mock

import pytest
import torch

import frameworks
from frameworks.arrays import Arrays
from frameworks.judge.compare import compare
from frameworks.protocol import Case
from frameworks.shared.tolerances import DEPLOY
from frameworks.torch_rtdetr import deploy
from parity_tests.agreement import DTYPES, assert_agreement
from parity_tests.cases import subjects
from parity_tests.traces import TRUTH, Traces


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


def test_a_fused_model_is_not_trained():
    with pytest.raises(ValueError, match="inference"):
        Case("loss", subjects.subject("tiny").spec, training=True, deploy=True)
