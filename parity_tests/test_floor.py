"""What a device's own arithmetic does to a training pass: the same framework twice, and TF32.

A GPU adds in an order that changes from run to run. Two frameworks cannot agree better than one agrees with itself.
"""

from collections.abc import Iterator

import pytest

import frameworks
from frameworks.arrays import Arrays
from frameworks.judge.compare import compare
from frameworks.judge.decisions import forced_decisions
from frameworks.judge.record import Recorder
from frameworks.shared import kernels
from frameworks.shared.tolerances import FLOAT32_FACTOR, FLOAT32_FLOOR, FLOAT32_KINKS, float64_limit
from frameworks.torch_rtdetr.adapter import TF32
from parity_tests.agreement import DEVICES, DTYPES
from parity_tests.cases.subjects import Subject, in_zoo, subject, training_case
from parity_tests.conftest import started
from parity_tests.traces import TRUTH, Traces, Workers

NAMES = ("tiny", in_zoo("rtdetr_r18vd"))
TF32_STEP = 2.0**13  # times the rounding of float32: TF32 has 10 bits of 23


def limit_of(stage: str, factor: float = 1.0) -> float:
    """The largest distance of a float32 pass from one of the same framework."""
    return max(factor * FLOAT32_FACTOR * FLOAT32_FLOOR, FLOAT32_KINKS.get(stage, 0.0))


def afresh(workers: Workers, of: Subject, truth: Arrays, framework: str, dtype: str, device: str) -> Arrays:
    """A training pass that is computed again each time, with the truth's decisions."""
    worker, inputs = workers.get(framework, device), of.training_inputs() | forced_decisions(truth)
    return worker.trace(training_case(of), of.weights(), inputs, device=device, dtype=dtype)


@pytest.mark.parametrize("framework", frameworks.ADAPTERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", NAMES)
def test_the_same_framework_twice(name, device, dtype, framework, traces: Traces, workers: Workers, record):
    of = subject(name)
    truth = traces.training(of, *TRUTH)
    first, second = (afresh(workers, of, truth, framework, dtype, device) for _ in range(2))
    setting = record(of, "the same framework twice", dtype, device)
    found = compare(
        second, first, float64_limit if dtype == "float64" else lambda stage, _: limit_of(stage), setting.modules
    )
    setting.check(found, framework, "floor")


@pytest.fixture(scope="module")
def tf32_workers(request: pytest.FixtureRequest, recorder: Recorder) -> Iterator[Workers]:
    """Workers whose GPU may round the inputs of matrix products and convolutions to TF32."""
    with pytest.MonkeyPatch.context() as patch, started(request, recorder, kernels.choice()) as workers:
        patch.setenv(TF32, "1")
        yield workers


@pytest.mark.parametrize("device", ["cuda"])  # a CPU has no TF32
@pytest.mark.parametrize("name", NAMES)
def test_tf32_on(name, device, traces: Traces, tf32_workers: Workers, record):
    """The reference with TF32 against the truth; every other test has it off."""
    if tf32_workers.in_process:
        pytest.skip("TF32 is chosen when a worker starts, and --in-process starts none")
    of = subject(name)
    truth = traces.training(of, *TRUTH)
    assert tf32_workers.get(frameworks.REFERENCE, device).environment(device)["tf32"]
    found = afresh(tf32_workers, of, truth, frameworks.REFERENCE, "float32", device)
    setting = record(of, "TF32 on", "float32", device)
    setting.check(
        compare(found, truth, lambda stage, _: limit_of(stage, TF32_STEP), setting.modules),
        frameworks.REFERENCE,
        "tf32",
    )
