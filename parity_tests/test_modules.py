"""Module by module, teacher-forced: each module alone on what the truth fed it and got back from it."""

import pytest

from parity_tests import cases
from parity_tests.evidence import Evidence
from parity_tests.hold import DEVICES, DTYPES, hold

ZOO = tuple(name for name in cases.TINY if name not in cases.FAST)
MODULES = [
    pytest.param(name, path, marks=[pytest.mark.zoo] * (name in ZOO))
    for name in (*cases.FAST, *ZOO)
    for path in cases.module_paths(cases.subject(name).spec.model)
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "module"), MODULES)
def test_module(name, module, dtype, device, evidence: Evidence, judge):
    subject = cases.subject(name)

    def answer(*where: str):
        return evidence.module(subject, module, *where)

    hold(judge, evidence.twins, subject, module, dtype, device, answer)
