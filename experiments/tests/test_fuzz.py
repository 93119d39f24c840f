"""Changed files of every format are read or refused: a few of each here, more with ``nox -s fuzz``."""

import itertools
import random
from collections import Counter
from pathlib import Path

import pytest

from experiments.tests import fuzz
from frameworks.errors import UserError

SEEDS = fuzz.weight_files() | fuzz.other_files()


@pytest.mark.parametrize("kind", SEEDS)
def test_changed_files_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    for seed in SEEDS[kind]:
        path.write_bytes(seed)
        assert fuzz.outcome(kind, path) == "read" or (kind == "yml" and seed.startswith(b"inherit"))
    counts: Counter[str] = Counter()
    for data in itertools.islice(fuzz.cases(SEEDS[kind], random.Random(0)), 200 if kind == "yml" else 400):
        path.write_bytes(data)
        counts[fuzz.outcome(kind, path)] += 1
    assert counts.keys() <= {"read", "refused"} and counts["refused"] > 50, counts


def test_what_is_neither_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, expected in [
        (KeyError("a"), "KeyError"),
        (UserError("a\x1bb"), "control"),
        (UserError("a"), "refused"),
    ]:

        def fails(kind: str, path: Path, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(fuzz, "read", fails)
        assert expected in fuzz.outcome("npz", tmp_path)
    monkeypatch.setattr(fuzz, "MOST_SECONDS", 0)
    assert "more than" in fuzz.outcome("npz", tmp_path)
