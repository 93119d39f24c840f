"""Processes that prepare images: their errors, their deaths, and that they end with the process that uses them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.data.augmentation.pipeline import DrawKey
from experiments.data.preparation import client
from experiments.data.preparation.example import ExampleTask, prepare_example
from experiments.data.targets import PixelTargets
from experiments.tests.data_sets import shapes, user_error
from frameworks.tests.waiting import ended, eventually

ROOT = Path(__file__).parents[2]
NO_TARGETS = PixelTargets(np.zeros(0, np.int64), np.zeros((0, 4), np.float32))
# Augments for ever and says once which processes do it. An interruption is to be seen by this process alone.
SCRIPT = """
import itertools, signal, sys
from experiments.data.batches import EpochOrder, epoch_batches
from experiments.data.coco import load_split
from experiments.data.preparation import client
from frameworks.config import AugmentationSpec

signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
split = load_split(sys.argv[1], "train")
order = EpochOrder(0, 2, (32, 32), AugmentationSpec())
try:
    for epoch in itertools.count():
        for batch in epoch_batches(split, list(split.images), order, epoch, workers=2):
            pass
        if epoch == 0:
            print(*[worker.process.pid for worker in client._idle], flush=True)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def worker() -> Iterator[client.Worker]:
    started = client.Worker()
    yield started
    started.close()


def task(path: Path, targets: PixelTargets | None = NO_TARGETS) -> ExampleTask:
    if not path.exists():
        Image.effect_noise((20, 10), 50).convert("RGB").save(path)
    return ExampleTask(path, (20, 10), targets, DrawKey(0, 0, 1), (32, 64), (32, 64))  # type: ignore[arg-type]


def test_another_process_prepares_the_same(worker: client.Worker, tmp_path: Path) -> None:
    found, expected = worker.prepare(task(tmp_path / "a.png")), prepare_example(task(tmp_path / "a.png"))
    assert found.pixels.shape == (32, 64, 3) and found.pixels.dtype == np.uint8 and found.pixels.std() > 10
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    np.testing.assert_array_equal(found.targets.boxes_cxcywh, expected.targets.boxes_cxcywh)


def test_errors_come_back_and_the_process_goes_on(worker: client.Worker, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    user_error(lambda: worker.prepare(task(tmp_path / "broken.png")), tmp_path / "broken.png", "not an image")
    with pytest.raises(RuntimeError, match=r"a\.png: cannot be prepared:\nTraceback[\s\S]*AttributeError"):
        worker.prepare(task(tmp_path / "a.png", None))
    assert worker.prepare(task(tmp_path / "a.png")).pixels.shape == (32, 64, 3)


def test_a_process_that_dies_is_named_and_replaced(tmp_path: Path) -> None:
    client.prepare_elsewhere(task(tmp_path / "a.png"))
    victim = client._idle[-1]
    os.kill(victim.process.pid, signal.SIGKILL)
    assert eventually(lambda: ended(victim.process.pid))
    user_error(lambda: client.prepare_elsewhere(task(tmp_path / "a.png")), tmp_path / "a.png", "killed by signal 9")
    assert victim not in client._idle
    assert client.prepare_elsewhere(task(tmp_path / "a.png")).pixels.shape == (32, 64, 3)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_processes_end_with_the_one_that_uses_them(tmp_path: Path, sent: signal.Signals) -> None:
    command = [sys.executable, "-c", SCRIPT, str(shapes(tmp_path, train=4, val=1))]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=ROOT
    ) as user:
        assert user.stdout and user.stderr
        pids = [int(pid) for pid in user.stdout.readline().split()]
        assert len(pids) == 2 and not any(ended(pid) for pid in pids)
        os.killpg(user.pid, sent)  # as a terminal does
        assert user.wait(timeout=60) == {signal.SIGINT: 130, signal.SIGKILL: -signal.SIGKILL}[sent]
        assert user.stderr.read() == ""  # and its end: the processes have closed it
    assert eventually(lambda: all(ended(pid) for pid in pids))
