"""What ends a run from outside: a second Ctrl-C, SIGTERM, a closed terminal. Nothing of it goes on."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from experiments.tests.data_sets import shapes
from experiments.tests.test_run_resume import command, rows_so_far, until
from frameworks.arrays import load_arrays
from frameworks.tests.waiting import ended, eventually


def descendants(pid: int) -> list[int]:
    """Processes that a process has started, and those that they have."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *descendants(child)]
    return found


@pytest.mark.parametrize("sent", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM,), (signal.SIGHUP,)])
def test_a_stopped_run_leaves_nothing_running(tmp_path: Path, sent: tuple[signal.Signals, ...]) -> None:
    root = shapes(tmp_path / "data", train=6, val=3)
    out, temporary = tmp_path / "run", tmp_path / "temporary"
    temporary.mkdir()
    with subprocess.Popen(
        [*command(root, out, epochs=1000), "--checkpoint-minutes", "0"],
        env=os.environ | {"TMPDIR": str(temporary)},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        try:
            assert process.stderr
            until(lambda: rows_so_far(out / "torch" / "epochs.jsonl"), seconds=300)
            started = descendants(process.pid)
            assert started, "the worker is missing"
            for number in sent:
                process.send_signal(number)
                time.sleep(0.1)
            assert process.wait(timeout=60) == 130
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()
    assert eventually(lambda: all(map(ended, started)))
    left = [
        path for path in temporary.iterdir() if not path.name.startswith("torchinductor")
    ]  # PyTorch's own cache
    assert not left and not (out / "report.md").exists()
    assert load_arrays(out / "torch" / "checkpoint.safetensors")
