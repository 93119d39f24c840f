"""Worker processes: the same results as in process, and refusals stay what they are."""

import dataclasses
import signal

import numpy as np
import pytest

from frameworks.config import preset
from frameworks.errors import UserError
from frameworks.protocol import Case
from frameworks.shared import drawn_inputs
from frameworks.shared.noise import denoising_count
from frameworks.state.parameters import state_shapes
from frameworks.workers import client
from frameworks.workers.stepper import WorkerStepper

SPEC = preset("tiny")
SHAPES = state_shapes(SPEC.model)
COUNTS = (2, 1)


def weights():
    return drawn_inputs.weights(SHAPES, "worker")


def batch():
    count = denoising_count(SPEC.model, np.asarray(COUNTS))
    drawn = drawn_inputs.targets("worker", COUNTS) | drawn_inputs.noise(2, count, "worker")
    return {"images": drawn_inputs.images(2, 64, 64, "worker")} | drawn


@pytest.fixture(scope="module", autouse=True)
def killed_children_are_survived():
    """Where an earlier test imported Jittor, its handler would end this process without a word."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


@pytest.fixture(scope="module")
def torch_worker():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        with client.open_framework("torch", timeout=120) as worker:
            yield worker


def test_worker_answers_as_in_process(torch_worker, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    case = Case("loss", SPEC, training=True, capture=("decoder.query_pos_head",))
    there = torch_worker.trace(case, weights(), batch(), device="cpu", dtype="float64")
    with client.open_framework("torch", in_process=True) as local:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(1)
        here = local.trace(case, weights(), batch(), device="cpu", dtype="float64")
        torch.set_num_threads(before)
    assert there.keys() == here.keys()
    assert [n for n in here if here[n].tobytes() != there[n].tobytes() or here[n].dtype != there[n].dtype] == []


def test_exception_inside_becomes_a_failure_and_the_worker_goes_on(torch_worker):
    broken = {n: a for n, a in weights().items() if n != "decoder.enc_output.0.bias"}
    with pytest.raises(client.WorkerFailure, match=r"decoder\.enc_output\.0\.bias") as caught:
        torch_worker.trace(Case("forward", SPEC), broken, batch(), device="cpu", dtype="float32")
    assert caught.value.kind == "exception"
    assert "ValueError" in caught.value.message and "Traceback" in caught.value.stderr_tail
    answer = torch_worker.trace(Case("forward", SPEC), weights(), batch(), device="cpu", dtype="float32")
    assert answer["forward/pred_logits"].dtype == np.float32


def test_refusal_of_a_device_stays_a_user_error(torch_worker):
    with pytest.raises(UserError, match="abacus"):
        torch_worker.trace(Case("forward", SPEC), weights(), batch(), device="abacus", dtype="float32")


def test_not_finite_becomes_a_floating_point_error(torch_worker):
    trainer = torch_worker.trainer(SPEC, weights(), device="cpu")
    poisoned = batch()
    poisoned["images"][0, 0, 0, 0] = np.nan
    with pytest.raises(FloatingPointError, match="not finite"):
        trainer.step(poisoned, [1e-4] * 4, 0.9)


def test_unknown_framework_names_the_known_ones():
    with (
        pytest.raises(UserError, match="unknown framework 'tensorflow'; known frameworks: torch, jittor"),
        client.open_framework("tensorflow"),
    ):
        pass


@pytest.mark.parametrize("python", ["/no/such/python", "/"])
def test_interpreter_that_does_not_start_is_a_user_error(python, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with (
        pytest.raises(UserError, match=f"cannot start '{python}' for torch"),
        client.open_framework("torch", python=python),
    ):
        pass
    assert list(tmp_path.iterdir()) == [], "a file is left behind"


def test_interpreter_that_is_no_python_is_a_crash(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(client.WorkerFailure) as caught, client.open_framework("torch", python="/bin/false"):
        pass
    assert caught.value.kind == "crash" and "exited with status 1 during 'start'" in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_step_without_a_trainer_is_an_error_that_says_so(torch_worker):
    with client.open_framework("torch", timeout=120) as fresh:
        assert isinstance(fresh, client.Worker)
        stepper = WorkerStepper(fresh.request, fresh.process.pid)
        with pytest.raises(client.WorkerFailure, match="send 'trainer' first"):
            stepper.peak_memory_mb()


def test_trainer_in_a_worker_is_the_one_in_process(torch_worker, monkeypatch):
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    records = []
    with client.open_framework("torch", in_process=True) as local:
        torch.set_num_threads(1)
        for framework in (torch_worker, local):
            record = framework.trainer(SPEC, weights(), device="cpu").step(batch(), [1e-4] * 4, 0.9)
            records.append(dataclasses.replace(record, seconds=0.0))
        torch.set_num_threads(before)
    assert records[0] == records[1]
