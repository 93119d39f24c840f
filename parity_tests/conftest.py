"""Session fixtures: twins, evidence, records; and the table at the end of the session."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from parity_tests.judge.compare import Comparison
from parity_tests.traces import Evidence, Recorder, Twins

REPOSITORY = Path(__file__).resolve().parent.parent
RECORDER = pytest.StashKey[Recorder]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("twin-detr")
    group.addoption("--python", action="append", default=[], metavar="NAME=PATH", help="interpreter of a twin")
    group.addoption("--in-process", action="store_true", help="run the twins here, under a debugger")
    group.addoption("--records", type=Path, default=REPOSITORY / "reports/generated/parity", metavar="DIR")


@pytest.fixture(scope="session")
def twins(request: pytest.FixtureRequest, recorder: Recorder) -> Iterator[Twins]:
    options = request.config.option
    pythons = dict(pair.split("=", 1) for pair in options.python)
    with ExitStack() as stack:
        twins = Twins(stack, pythons, options.in_process)
        yield twins
        for (name, device), framework in twins.open.items():
            record = {"name": name, "device": device, **framework.environment(device)}
            recorder.write({"environment": {key: value for key, value in record.items() if key != "variables"}})


@pytest.fixture(scope="session")
def evidence(twins: Twins) -> Evidence:
    return Evidence(twins)


@pytest.fixture(scope="session")
def recorder(request: pytest.FixtureRequest) -> Recorder:
    config = request.config
    if RECORDER not in config.stash:
        config.stash[RECORDER] = Recorder(config.option.records / "records.jsonl")
    return config.stash[RECORDER]


@pytest.fixture
def judge(recorder: Recorder):
    """Record comparisons and fail with a line for each tensor that does not hold."""

    def check(comparisons: list[Comparison], **context: str) -> None:
        failures = recorder.add(comparisons, **context)
        assert not failures, f"{len(failures)} of {len(comparisons)} tensors differ:\n" + "\n".join(failures[:20])

    return check


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table, and the same as a page; skips are listed with their reasons."""
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
