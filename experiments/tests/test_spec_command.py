"""The command that shows specs, and a run from a YAML file: what is printed where, and what people get wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.runs.options import Options, parse_options
from experiments.runs.prepare import folder_of, spec_of
from experiments.spec import main
from experiments.tests.runs import said_error
from frameworks.config import ALIASES, PRESETS, dump_yaml, load_yaml, preset
from frameworks.tests.official_form import r50vd_v1, setting, write
from frameworks.workers.client import REPOSITORY

Capture = pytest.CaptureFixture[str]


def test_list_has_one_line_a_preset(capsys: Capture) -> None:
    assert main(["list"]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == [*PRESETS, *ALIASES]
    assert "discrete" in next(line for line in out.splitlines() if line.startswith("rtdetrv2_r18vd_dsp"))
    assert err == ""


def test_show_prints_a_file_that_can_be_read_back(capsys: Capture, tmp_path: Path) -> None:
    assert main(["show", "rtdetrv2_hgnetv2_h"]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == (dump_yaml(preset("rtdetrv2_hgnetv2_h")), "")
    (tmp_path / "shown.yml").write_text(out)
    assert main(["show", str(tmp_path / "shown.yml")]) == 0
    assert capsys.readouterr().out == out


def test_diff_prints_only_what_differs(capsys: Capture, tmp_path: Path) -> None:
    assert main(["show", "rtdetr_r34vd", "--diff", "rtdetr_r18vd"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "inherit: rtdetr_r18vd\nname: rtdetr_r34vd\nmodel:\n  backbone:\n    blocks: [3, 4, 6, 3]\n"
    )
    assert "image_size" not in out
    (tmp_path / "child.yml").write_text(out)
    assert load_yaml(tmp_path / "child.yml") == preset("rtdetr_r34vd")


def test_official_file_with_its_account(capsys: Capture, tmp_path: Path) -> None:
    path = write(tmp_path, r50vd_v1(), {"output_dir": "out"}, name="rtdetr_r50vd.yml")
    assert main(["show", str(path), "--diff", "rtdetr_r50vd"]) == 0
    out, err = capsys.readouterr()
    assert out == "inherit: rtdetr_r50vd\n"
    lines = err.splitlines()
    assert all(line.startswith("left aside: ") for line in lines)
    assert "left aside: output_dir: where and how often a run writes" in lines


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ([], ["list|show", "--help"]),
        (["shwo", "tiny"], ["'shwo'", "--help"]),
        (["show"], ["NAME|FILE"]),
        (["show", "tinny"], ["'tinny'", "Did you mean 'tiny'?"]),
        (["show", "nowhere.yml"], ["nowhere.yml", "no such file"]),
        (["show", "tiny", "--diff", "tinny"], ["'tinny'", "Did you mean 'tiny'?"]),
        (["show", "tiny", "--dif", "tiny"], ["--dif"]),
        (["show", "{folder}"], ["is a folder"]),
        (["show", "{folder}/empty.yml"], ["empty.yml is empty"]),
        (["show", "{folder}/cut.yml"], ["cut.yml:2:1", "not valid YAML"]),
        (["show", "{folder}/binary.yml"], ["binary.yml is not text"]),
        (["show", "{folder}/mine.yml"], ["HybridEncoder.hiden_dim", "Did you mean 'hidden_dim'?"]),
    ],
)
def test_refused(arguments: list[str], fragments: list[str], capsys: Capture, tmp_path: Path) -> None:
    parts = r50vd_v1()
    setting("HybridEncoder/hiden_dim", 256)(parts)
    write(tmp_path, parts)
    (tmp_path / "empty.yml").write_text("")
    (tmp_path / "cut.yml").write_text("model: {encoder: {hidden_dim: 256\n")
    (tmp_path / "binary.yml").write_bytes(b"PK\x03\x04\xff\xfe")
    assert main([argument.format(folder=tmp_path) for argument in arguments]) == 2
    assert "left aside" not in capsys.readouterr().out, "no half of an answer"
    assert main([argument.format(folder=tmp_path) for argument in arguments]) == 2
    said_error(capsys, *fragments)


def test_started_as_a_file(tmp_path: Path) -> None:
    """Its folder, with a ``spec.py`` in it, must not be where Python looks for modules."""
    script = REPOSITORY / "experiments" / "spec.py"
    done = subprocess.run(
        [sys.executable, str(script), "show", "no/tiny.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: no/tiny.yml: there is no such file\n"


def test_run_takes_a_file(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "my.spec.yml").write_text("inherit: tiny\nname: mine\nmodel: {decoder: {num_queries: 7}}\n")
    options = parse_options(["--subset", "4", "--preset", str(tmp_path / "my.spec.yml")])
    assert isinstance(options, Options)
    spec = spec_of(options).spec
    assert (spec.name, spec.model.decoder.num_queries) == ("mine", 7)
    assert folder_of(options).name.startswith("my.spec-subset4-")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("recipe: quick (")
    official = write(tmp_path, r50vd_v1())
    found = spec_of(Options(subset=16, preset=str(official))).spec
    assert (found.model, found.recipe) == (preset("rtdetr_r50vd").model, preset("rtdetr_r50vd").recipe)
    assert f"spec.py show {official}" in capsys.readouterr().out
