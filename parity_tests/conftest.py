"""Session fixtures: workers, traces, records; and the table at the end of the session."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import frameworks
from frameworks.judge.record import Record, Recorder
from frameworks.shared import kernels
from frameworks.state.module_paths import module_paths
from parity_tests.cases.subjects import Subject
from parity_tests.traces import Traces, Workers

REPOSITORY = Path(__file__).resolve().parent.parent
RECORDER = pytest.StashKey[Recorder]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the parity tests."""
    group = parser.getgroup("twin-detr")
    group.addoption("--python", action="append", default=[], metavar="NAME=PATH", help="interpreter of a framework")
    group.addoption("--in-process", action="store_true", help="run the frameworks in this process, for a debugger")
    group.addoption("--kernels", choices=kernels.CHOICES, help="C++ operators or the formulas that define them")
    group.addoption("--records", type=Path, default=REPOSITORY / "reports/generated/parity", metavar="DIR")


def pytest_configure(config: pytest.Config) -> None:
    """Set the choice of ``--kernels`` for this process and all workers."""
    if config.option.kernels is not None:
        os.environ[kernels.VARIABLE] = config.option.kernels


@pytest.fixture(scope="session")
def workers(request: pytest.FixtureRequest, recorder: Recorder) -> Iterator[Workers]:
    """A worker for each framework and device; the session ends with a record of their environments."""
    with started(request, recorder, kernels.choice()) as workers:
        yield workers


@pytest.fixture(scope="session")
def other_path() -> str:
    """The kernels that the session does not use, by default the formulas."""
    return next(path for path in kernels.CHOICES if path != kernels.choice())


@contextmanager
def started(request: pytest.FixtureRequest, recorder: Recorder, path: str) -> Iterator[Workers]:
    """Workers with these kernels; at the end their environments are recorded."""
    options = request.config.option
    pythons = dict(pair.split("=", 1) for pair in options.python)
    with ExitStack() as stack:
        workers = Workers(stack, pythons, options.in_process, path)
        yield workers
        for (name, device), framework in workers.open.items():
            record = {"name": name, "device": device, **framework.environment(device)}
            recorder.write({"environment": {key: value for key, value in record.items() if key != "variables"}})


@pytest.fixture(scope="session")
def traces(workers: Workers) -> Traces:
    """Runs cases in the workers and caches their traces."""
    return Traces(workers)


@pytest.fixture(scope="session")
def other_traces(request: pytest.FixtureRequest, recorder: Recorder, other_path: str) -> Iterator[Traces]:
    """The same in workers of their own with the other kernels."""
    with started(request, recorder, other_path) as workers:
        yield Traces(workers)


@pytest.fixture(scope="session")
def recorder(request: pytest.FixtureRequest) -> Recorder:
    """The file of records, in the folder of ``--records``."""
    config = request.config
    if RECORDER not in config.stash:
        config.stash[RECORDER] = Recorder(config.option.records / "records.jsonl")
    return config.stash[RECORDER]


@pytest.fixture
def record(recorder: Recorder) -> Callable[[Subject, str, str, str], Record]:
    """``record(subject, label, dtype, device)``: where a test's comparisons are written."""

    def of(subject: Subject, label: str, dtype: str, device: str) -> Record:
        return Record(recorder, subject.name, label, dtype, device, tuple(module_paths(subject.spec.model)))

    return of


@pytest.fixture(autouse=True)
def needs_gpu(request: pytest.FixtureRequest) -> None:
    """Skip the tests with the parameter ``device`` = "cuda" where the reference cannot use a GPU."""
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    if parameters.get("device") == "cuda":
        workers: Workers = request.getfixturevalue("workers")
        dtype = parameters.get("dtype", "float64")
        if reason := workers.get(frameworks.REFERENCE, "cpu").supports("cuda", dtype):
            pytest.skip(f"no GPU parity: {reason}")


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table of the session and write its page, with the skipped tests and their reasons."""
    if RECORDER not in config.stash:
        return
    from frameworks.errors import UserError
    from reports.jsonl import read_lines
    from reports.parity.page import build_parity_page, summary_table

    recorder = config.stash[RECORDER]
    skipped: dict[str, list[str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        skipped.setdefault(reason.removeprefix("Skipped: "), []).append(report.nodeid)
    for reason, tests in skipped.items():
        recorder.write({"skipped": reason, "test": f"{len(tests)} tests, the first: {tests[0]}"})
    terminalreporter.section("parity")
    try:
        terminalreporter.write_line(summary_table(read_lines(recorder.path)[0]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            page = build_parity_page(recorder.path, recorder.path.parent)
        terminalreporter.write_line(f"page: {page}    records: {recorder.path}")
    except UserError as error:
        terminalreporter.write_line(f"no parity table: {error}")
