"""Module by module, teacher-forced: each module alone on what the truth fed it and got back from it."""

import pytest

from parity_tests.agreement import DEVICES, DTYPES, hold
from parity_tests.cases import subjects
from parity_tests.traces import Evidence

ZOO = tuple(name for name in subjects.TINY if name not in subjects.FAST)
MODULES = [
    pytest.param(name, path, marks=[pytest.mark.zoo] * (name in ZOO))
    for name in (*subjects.FAST, *ZOO)
    for path in subjects.module_paths(subjects.subject(name).spec.model)
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "module"), MODULES)
def test_module(name, module, dtype, device, evidence: Evidence, judge):
    subject = subjects.subject(name)

    def answer(*where: str):
        return evidence.module(subject, module, *where)

    hold(judge, evidence.twins, subject, module, dtype, device, answer)
