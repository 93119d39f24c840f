"""Deploy form: a fused model answers as the unfused one, in each twin alone and twin against twin."""

from unittest import mock

import pytest
import torch

import frameworks
from frameworks.arrays import Arrays
from frameworks.protocol import Case
from frameworks.shared.tolerances import DEPLOY
from frameworks.torch_rtdetr import deploy
from parity_tests.agreement import DTYPES, hold
from parity_tests.cases import subjects
from parity_tests.judge.compare import compare
from parity_tests.traces import Evidence


def check(judge, evidence: Evidence, subject: subjects.Subject, framework: str) -> None:
    where = (framework, "float64", "cpu")
    fused, unfused = (
        _answers(arrays) for arrays in (evidence.deployed(subject, *where), evidence.forward(subject, *where))
    )
    comparisons = compare(fused, unfused, lambda stage, tensor: DEPLOY, subjects.module_paths(subject.spec.model))
    judge(
        comparisons, preset=subject.name, case="deploy form", dtype="float64", device="cpu",
        framework=framework, judge="self",
    )  # fmt: skip


def _answers(trace: Arrays) -> Arrays:
    """Without norm statistics, which a fused model has no more."""
    return {name: array for name, array in trace.items() if name.startswith(("forward/", "select/"))}


# Small models here; r18vd with all other presets below.
@pytest.mark.parametrize("framework", frameworks.ADAPTERS)
@pytest.mark.parametrize("name", [name for name in subjects.SUBJECTS if name != "rtdetr_r18vd"])
def test_fused_is_unfused(name, framework, evidence: Evidence, judge):
    check(judge, evidence, subjects.subject(name), framework)


@pytest.mark.zoo
@pytest.mark.parametrize("framework", frameworks.ADAPTERS)
@pytest.mark.parametrize("name", subjects.OFFICIAL)
def test_every_preset(name, framework, evidence: Evidence, judge):
    check(judge, evidence, subjects.zoo_subject(name), framework)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["tiny", "tiny_hgnetv2"])
def test_fused_twins(name, dtype, evidence: Evidence, judge):
    """Both twins fuse to the same function."""
    subject = subjects.subject(name)

    def answer(*where: str):
        return _answers(evidence.deployed(subject, *where))

    hold(judge, evidence.twins, subject, "deploy form", dtype, "cpu", answer)


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
    """The limit of this file catches a wrong fusion."""
    subject = subjects.subject("tiny")
    twin = frameworks.load("torch")
    weights, images = subject.weights(), subject.images()
    unfused = twin.trace(Case("forward", subject.spec), weights, images, device="cpu", dtype="float64")
    with patch:
        case = Case("forward", subject.spec, deploy=True)
        fused = twin.trace(case, weights, images, device="cpu", dtype="float64")
    found = compare(_answers(fused), _answers(unfused), lambda stage, tensor: DEPLOY)
    assert not all(comparison.passed for comparison in found)


def test_a_fused_model_is_not_trained():
    with pytest.raises(ValueError, match="inference"):
        Case("loss", subjects.subject("tiny").spec, training=True, deploy=True)
