"""Runs the parity tests on a tree with a fault, in a process of its own, up to the first test that fails."""

import importlib
import json
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from parity_tests.mutants.remembered import Remembering
from parity_tests.mutants.stages import UNIT, position, stage_of_test, tests_of
from parity_tests.mutants.weak_checks import weak_checks

PACKAGES = ("frameworks", "parity_tests", "experiments", "reports")
CULPRIT = re.compile(r"first module that diverges: (\S+) \(([^)]+)\)")
# The first comparison of a whole pass says nothing, because the tensors are in alphabetical order.
SEARCHED = tuple(f"test_{file}.py::test_training" for file in ("model", "other_backbones", "no_objects"))
DIFFERENT = re.compile(r"^E?\s*(?:AssertionError: )?([\w.]+): \S+ \([\w -]+, float\d\d, \w+\): error", re.MULTILINE)
LOG = "log.txt"  # what the tests print


class Plugin:
    """Selects and orders the tests, lends the stored traces, and notes the first failure."""

    def __init__(self, planted_in: str, stage: str, memory: Path, folder: Path, search: bool) -> None:
        self.stage, self.memory, self.folder, self.search = stage, memory, folder, search
        self.clean = {"torch": "jittor", "jittor": "torch"}.get(planted_in)
        self.last: tuple[Any, ...] = ()  # outputs and truth of the last comparison of twins
        self.result: dict[str, Any] = {"status": "survived"}

    def pytest_configure(self) -> None:
        """Listen to the comparisons of the tree under test; its modules are not imported before."""
        agreement: Any = importlib.import_module("parity_tests.agreement")
        traces: Any = importlib.import_module("parity_tests.traces")

        if hasattr(agreement, "examined"):  # by an earlier stage
            agreement.examined = self
            return
        agreement.examined = self
        get = traces.Workers.get

        def listening(check: Any) -> Any:
            def compared(outputs: Any, truth: Any, *rest: Any, **named: Any) -> None:
                agreement.examined.last = (outputs, truth)
                check(outputs, truth, *rest, **named)

            return compared

        def get_remembering(workers: Any, name: str, device: str) -> Any:
            folder = self.memory if name == self.clean else self.folder
            return Remembering(name, folder, lambda: get(workers, name, device), traces.digest)

        for rule in ("assert_same_function", "assert_same_arithmetic"):
            setattr(agreement, rule, listening(getattr(agreement, rule)))
        if not self.search:
            agreement.first_divergence = lambda *arguments: "not searched"
        traces.Workers.get = get_remembering

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keep the tests of the stage, without those that ask the twin without a fault alone."""
        kept = [item for item in items if self._has(item)]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = sorted(kept, key=lambda item: position(item.nodeid))

    def _has(self, item: pytest.Item) -> bool:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}  # pyright: ignore
        concerned = self.clean is None or parameters.get("framework") != self.clean
        return concerned and stage_of_test(item.nodeid) == self.stage.partition(":")[0]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the first failure: test, stage, the culprit that it names, what weaker checks would say."""
        if not report.failed or self.result["status"] != "survived":
            return
        message = report.longreprtext
        test = report.nodeid.removeprefix("parity_tests/")
        named, compared = CULPRIT.search(message), DIFFERENT.search(message)
        first = compared[1] if compared and not test.startswith(SEARCHED) else None
        self.result = {
            "status": "killed",
            "test": test,
            "stage": self.stage,
            "blamed": named[1] if named else first,
            "blamed_where": named[2] if named else None,
            "blamed_by": "search" if named else "comparison" if first else None,
            "error": next((line[1:].strip() for line in message.splitlines() if line.startswith("E ")), "")[:300],
            "weak": self._weak() if compared and self.last else None,
        }

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Leave out the table and the page of the session, which cost more than most examinations."""
        conftest: Any = sys.modules.get("parity_tests.conftest")
        if conftest and conftest.RECORDER in session.config.stash:
            del session.config.stash[conftest.RECORDER]

    def _weak(self) -> dict[str, bool]:
        from frameworks.judge.compare import relative_error
        from frameworks.shared.stages import stage_of
        from frameworks.shared.tolerances import PUBLISHED

        outputs, truth = self.last
        found = [weak_checks(output, truth, PUBLISHED, stage_of, relative_error) for output in outputs.values()]
        return {check: any(each[check] for each in found) for check in found[0]}


def examine(tree: str, planted_in: str, stages: Sequence[str], memory: str, out: str, search: bool) -> None:
    """Run the stages on ``tree`` up to the first failure and write the result to the file ``out`` as JSON.

    For a process of its own: the packages of this tree are forgotten, so that those of ``tree`` are imported.

    Args:
        search: whether a failing training pass searches for the culprit, which runs every module alone.
    """
    log = os.open(Path(out).parent / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        os.chdir(tree)
        os.environ["PYTHONPATH"] = tree  # for the workers
        sys.path.insert(0, tree)
        sys.dont_write_bytecode = False  # the tree is imported again and again
        for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
            del sys.modules[name]
        result = _first_failure(tree, planted_in, stages, Path(memory), Path(out).parent, search)
    except BaseException:
        result = {"status": "error", "error": traceback.format_exc()[-2000:]}
    Path(out).write_text(json.dumps(result))
    os._exit(0)


def _first_failure(
    tree: str, planted_in: str, stages: Sequence[str], memory: Path, folder: Path, search: bool
) -> dict[str, Any]:
    """A session of pytest for each stage, which imports its own tests only."""
    for stage in stages:
        tests = [test for test in tests_of(stage) if test.startswith("-") or Path(test).exists()]
        plugin = Plugin(planted_in, stage, memory, folder, search)
        options = ["-x", "-q", "--tb=short", "-p", "no:cacheprovider", "-m", "not zoo"]
        if not stage.startswith(UNIT):
            options += ["--in-process", "--records", f"{tree}/records"]
        code = pytest.main([*tests, *options], plugins=[plugin])
        if code in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR):
            raise RuntimeError(f"pytest ended with {code!r}: {(folder / LOG).read_text()[-1500:]}")
        if code == pytest.ExitCode.INTERRUPTED:  # the tests could not even be imported
            return {"status": "killed", "stage": stage, "test": "import"}
        if plugin.result["status"] != "survived":
            return plugin.result
    return {"status": "survived"}
