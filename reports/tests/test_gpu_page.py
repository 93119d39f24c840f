"""The page of a GPU, from records that name one: no machine with a GPU is needed."""

import math
from pathlib import Path
from typing import Any

import pytest

from reports.parity.gpu import build_gpu_page, main
from reports.tests.parity_lines import record, session, write

TWINS = [record(device=device, error=error) for device, error in (("cpu", 1e-13), ("cuda", 4e-12))]
FLOORS = [
    record(device="cuda", judge="floor", framework=name, error=error)
    for name, error in (("torch", 2e-12), ("jittor", 3e-12))
]
SINGLE = {"dtype": "float32", "device": "cuda", "framework": "torch", "limit": 0.25}
TF32 = [record(judge="tf32", error=3e-4, **SINGLE), record(judge="twin", error=2e-7, **SINGLE)]


def row(text: str, *first: str) -> list[str]:
    """The cells of the one table row that begins with the cells ``first``."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    (found,) = [cells for cells in rows if tuple(cells[: len(first)]) == first]
    return found


def page(tmp_path: Path, lines: list[dict[str, Any]]) -> str:
    return build_gpu_page(write(tmp_path / "records.jsonl", lines), tmp_path / "gpu").read_text()


def test_cpu_gpu_floors_and_tf32_stand_side_by_side(tmp_path: Path) -> None:
    text = page(tmp_path, TWINS + FLOORS + TF32 + [{"environment": {"device_name": "a stand-in"}}])
    assert "**Parity holds**" in text and "a stand-in" in text
    assert row(text, "stage")[2:] == [
        *("twins, CPU", "twins, GPU", "limit", "Jittor twice, GPU", "PyTorch twice, GPU", "TF32 on, GPU", "failed")
    ]
    assert row(text, "forward", "float64")[2:] == ["1.0e-13", "4.0e-12", "1.0e-10", "3.0e-12", "2.0e-12", "–", "0"]
    assert row(text, "forward", "float32")[2:] == ["–", "2.0e-07", "2.5e-01", "–", "–", "3.0e-04", "0"]


def test_a_failure_on_the_gpu_is_one_of_the_page(tmp_path: Path) -> None:
    lines = [*TWINS, record(device="cuda", error=math.nan, passed=False)]
    text = page(tmp_path, lines)
    assert "**Parity fails**" in text and "**nan**" in row(text, "forward", "float64")
    assert main([str(tmp_path / "records.jsonl"), str(tmp_path / "gpu")]) == 1


def test_records_of_a_cpu_alone_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "records.jsonl", session())
    assert main([str(path), str(tmp_path / "gpu")]) == 2
    assert "nothing was compared on a GPU" in capsys.readouterr().err
    assert not (tmp_path / "gpu").exists()
