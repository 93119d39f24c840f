"""Module by module, teacher-forced: each module alone on what the truth fed it and got back from it."""

import pytest

from parity_tests import cases
from parity_tests.evidence import Evidence
from parity_tests.hold import DEVICES, DTYPES, hold

SUBJECTS = ("tiny", "tiny_bottleneck", "rtdetr_r18vd")
MODULES = [(name, path) for name in SUBJECTS for path in cases.module_paths(cases.subject(name).spec.model)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "module"), MODULES)
def test_module(name, module, dtype, device, evidence: Evidence, judge):
    subject = cases.subject(name)

    def answer(*where: str):
        return evidence.module(subject, module, *where)

    hold(judge, evidence.twins, subject, module, dtype, device, answer)
