"""The installed command twin-detr: every command of it exists, and its errors are one line."""

import importlib
import inspect
import signal
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.console import COMMANDS, main
from experiments.tests.runs import said_error

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def same_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_the_package_installs_it() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert scripts == {"twin-detr": f"{main.__module__}:{main.__name__}"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_file_and_takes_its_arguments(name: str) -> None:
    assert (ROOT / f"experiments/{name}.py").is_file()
    assert "arguments" in inspect.signature(importlib.import_module(COMMANDS[name][0]).main).parameters


def test_a_command_gets_the_arguments_behind_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spec", "list"]) == 0
    assert "rtdetr_r18vd" in capsys.readouterr().out
    assert main(["spec", "lisst"]) == 2
    said_error(capsys, "lisst")


def test_an_unknown_command_is_one_line_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weight"]) == 2
    said_error(capsys, "weight", "weights")


def test_without_a_command_it_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)
