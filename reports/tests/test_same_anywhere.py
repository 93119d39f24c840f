"""A report is the same whatever the user's matplotlib settings, backend, locale and display."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = """
backend: TkAgg
text.usetex: True
font.size: 25
font.family: serif
figure.facecolor: black
axes.facecolor: black
axes.edgecolor: white
axes.grid: True
axes.formatter.use_locale: True
lines.linewidth: 9
savefig.bbox: tight
savefig.dpi: 30
image.cmap: gray
"""


def test_a_report_does_not_depend_on_where_it_is_built(pristine: Path, run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text(SETTINGS)
    settings = {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # of a notebook; not installed here
        "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"),
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
    }
    env = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "LANG")} | settings
    command = [sys.executable, "-m", "reports.build", str(run_dir)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    names = {path.name for path in pristine.glob("report*")}
    assert len(names) == 7 and {path.name for path in run_dir.glob("report*")} == names
    for name in names:
        assert (run_dir / name).read_bytes() == (pristine / name).read_bytes(), name


def test_figures_leave_the_settings_of_the_user_alone(pristine: Path, run_dir: Path) -> None:
    import matplotlib as mpl

    from reports.build import build_report

    with mpl.rc_context({"lines.linewidth": 9, "axes.facecolor": "black"}):
        build_report(run_dir)
        assert (mpl.rcParams["lines.linewidth"], mpl.rcParams["axes.facecolor"]) == (9, "black")
    assert (run_dir / "report_loss.png").read_bytes() == (pristine / "report_loss.png").read_bytes()
