"""One thread for the frameworks under the tests that ask for it: models this small gain nothing from a second,
and threads that wait for each other on a busy machine take a hundred times as long."""

import sys
from collections.abc import Iterator

import pytest

from frameworks.threads import thread_count


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        before = _set_threads(1)
        yield
    if before is not None:
        _set_threads(before)
    elif "torch" in sys.modules:  # loaded by these tests: as the adapter would have set it without them
        _set_threads(thread_count())


def _set_threads(count: int) -> int | None:
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    return before
