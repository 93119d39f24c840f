"""A complete run is written and reported once; tests that change a run get a folder of their own."""

import shutil
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from reports.build import build_report
from reports.tests.run_folder import write_run


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete two-framework run with its report built; not to be changed."""
    folder = write_run(tmp_path_factory.mktemp("run") / "pristine")
    build_report(folder)
    return folder


@pytest.fixture
def run_dir(pristine: Path, tmp_path: Path) -> Path:
    """A copy of the run's records, without its report, to damage at will."""
    skip = shutil.ignore_patterns("report*", "summary.json")
    return Path(shutil.copytree(pristine, tmp_path / "run", ignore=skip))


@pytest.fixture
def blank_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are built but written as one white pixel: drawing takes nine tenths of the time of a report."""

    def save(self: Figure, path: Path, **options: object) -> None:
        Image.new("RGB", (1, 1), "white").save(path)

    monkeypatch.setattr(Figure, "savefig", save)
