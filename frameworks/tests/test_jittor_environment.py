"""Preparing Jittor: everything that a machine can lack is an error of one line, or it is repaired."""

# ruff: noqa: SIM112 - Jittor reads variables of lower-case names

import importlib.metadata
import json
import os
import subprocess
import sys
import types
from importlib.machinery import PathFinder
from pathlib import Path

import numpy
import pytest

from frameworks.errors import UserError
from frameworks.jittor_rtdetr.runtime import checks, environment, onednn_links

NO_JITTOR = pytest.mark.skipif(PathFinder.find_spec("jittor") is None, reason="Jittor is not installed here")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A home of its own, and a process that has not seen Jittor, whatever other tests imported."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("JITTOR_HOME", raising=False)
    monkeypatch.setattr(environment, "_prepared", None)
    for name in ("jittor", "jittor_utils"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = dict(os.environ)
    yield tmp_path / "home"
    os.environ.clear()
    os.environ.update(before)


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@NO_JITTOR
def test_prepare_sets_what_jittor_reads(machine):
    os.environ["use_cuda"] = "1"
    os.environ["cc_flags"] = " -Ofast "
    prepared = environment.prepare("cpu", threads=1)
    assert os.environ["cc_flags"] == " -O3 "
    assert os.environ["nvcc_path"] == ""
    assert os.environ["use_mkl"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "1"
    assert "use_cuda" not in os.environ
    assert "jittor" not in sys.modules
    assert json.loads(json.dumps(prepared.record()))["variables"]["use_mpi"] == "0"


@NO_JITTOR
def test_prepare_again_gives_the_same(machine, monkeypatch, tmp_path):
    first = environment.prepare("cpu", threads=2)
    files = sorted(str(p) for p in machine.rglob("*"))
    monkeypatch.chdir(tmp_path)
    assert environment.prepare("cpu", threads=2) == first
    assert environment.prepare("cpu") == first  # takes the threads that are set
    assert sorted(str(p) for p in machine.rglob("*")) == files


@NO_JITTOR
def test_relative_jittor_home_becomes_absolute(machine, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JITTOR_HOME", "mine")
    assert environment.prepare("cpu").record()["cache_home"] == str(tmp_path / "mine")
    assert os.environ["JITTOR_HOME"] == str(tmp_path / "mine")


@NO_JITTOR
def test_threads_do_not_change_the_cache(machine):
    one, two = environment.prepare("cpu", 1), environment.prepare("cpu", 2)
    assert one.key == two.key and one.record()["cache_name"] == two.record()["cache_name"]


def test_unknown_device_and_threads(machine):
    with pytest.raises(UserError) as error:
        environment.prepare("tpu")
    assert "expected cpu or cuda" in one_line(error)
    with pytest.raises(UserError, match="expected 1 or more"):
        environment.prepare("cpu", 0)


def test_no_compiler(machine, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError) as error:
        environment.prepare("cpu")
    assert "apt-get install g++" in one_line(error)


def test_compiler_that_does_not_run(machine, monkeypatch, tmp_path):
    broken = tmp_path / "g++"
    broken.write_text("#!/bin/sh\necho 'cc1plus is missing' >&2\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="cc1plus is missing"):
        checks.compiler()


def test_numpy_2_loaded(machine, monkeypatch):
    monkeypatch.setattr(numpy, "__version__", "2.1.0")
    with pytest.raises(UserError) as error:
        environment.prepare("cpu")
    assert "NumPy 2.1.0" in one_line(error) and "pip install 'numpy<2'" in one_line(error)


def test_numpy_2_installed(machine, monkeypatch):
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda n: "2.5.0" if n == "numpy" else real(n))
    with pytest.raises(UserError, match=r"NumPy 2\.5\.0 corrupts"):
        checks.numpy_version()


@pytest.mark.parametrize("version", [(3, 7), (3, 13), (4, 0)])
def test_unsupported_python(version):
    with pytest.raises(UserError, match=r"Jittor needs Python 3\.8 to 3\.12"):
        checks.check_python(version)


def test_other_platform(monkeypatch):
    monkeypatch.setattr(checks.platform, "system", lambda: "Darwin")
    with pytest.raises(UserError, match="Linux only, this is Darwin"):
        checks.check_platform()


def test_jittor_not_installed(monkeypatch):
    monkeypatch.setattr(PathFinder, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install jittor==1\.3\.11\.0"):
        checks.jittor_version()


def test_no_python_headers(monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "is_file", lambda self: False)
    monkeypatch.setenv("CPLUS_INCLUDE_PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"apt-get install python3\.\d+-dev"):
        checks.python_include()


def test_python_config_supports_jittors_two_options(tmp_path):
    script = checks.python_config_script(tmp_path, tmp_path / "include")

    def printed(option: str) -> str:
        return subprocess.run([script, option], capture_output=True, text=True, check=True).stdout.strip()

    assert printed("--includes") == f"-I{tmp_path / 'include'}"
    assert printed("--extension-suffix").endswith(".so")


@NO_JITTOR
def test_jittor_home_of_one_run_does_not_change_later_runs(machine, tmp_path):
    """Jittor keeps JITTOR_HOME in a settings file; neither that file nor what it says may matter."""
    settings = machine / ".cache" / "jittor" / "config.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"JITTOR_HOME": str(tmp_path / "old")}), encoding="utf-8")
    code = (
        "from frameworks.jittor_rtdetr.runtime import environment\n"
        "prepared = environment.prepare('cpu')\n"
        "with environment._home(prepared.state_folder / 'settings'):\n"
        "    import jittor_utils\n"
        "print(jittor_utils.cache_path)\n"
    )

    def cache_of_a_run(**variables: str) -> str:
        command = [sys.executable, "-c", code]
        run = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=True)
        return run.stdout.strip()

    assert cache_of_a_run(JITTOR_HOME=str(tmp_path / "mine")).startswith(str(tmp_path / "mine"))
    assert cache_of_a_run().startswith(str(machine))
    assert json.loads(settings.read_text(encoding="utf-8")) == {"JITTOR_HOME": str(tmp_path / "old")}


def test_unusable_caches(machine, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JITTOR_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"from JITTOR_HOME\) cannot be written and locked"):
        checks.state_folder()
    monkeypatch.setenv("JITTOR_HOME", str(tmp_path / "two words"))
    with pytest.raises(UserError, match="has a space"):
        checks.state_folder()


def onednn_package(prefix: Path, major: int = 2) -> tuple[Path, Path]:
    (prefix / "include").mkdir(parents=True)
    (prefix / "lib").mkdir()
    (prefix / "include" / "dnnl.hpp").touch()
    (prefix / "include" / "dnnl_version.h").write_text(f"#define DNNL_VERSION_MAJOR {major}\n", encoding="utf-8")
    (prefix / "lib" / "libdnnl.so.2").touch()
    return prefix / "include", prefix / "lib" / "libdnnl.so.2"


def without_installed_onednn(monkeypatch, prefix: Path) -> None:
    monkeypatch.setattr(onednn_links, "_installed", lambda name: [])
    monkeypatch.setattr(onednn_links.sys, "prefix", str(prefix))


def test_missing_onednn(tmp_path, monkeypatch):
    without_installed_onednn(monkeypatch, tmp_path)
    with pytest.raises(UserError) as error:
        onednn_links.link_onednn(tmp_path, "x86_64")
    assert "dnnl.hpp and libdnnl.so.2" in one_line(error)
    assert "pip install onednn-devel-cpu-gomp==2022.2.1" in one_line(error)


def test_wrong_onednn_and_wrong_machine(tmp_path, monkeypatch):
    without_installed_onednn(monkeypatch, tmp_path / "venv")
    onednn_package(tmp_path / "venv", major=3)
    with pytest.raises(UserError, match="oneDNN 3"):
        onednn_links.link_onednn(tmp_path, "x86_64")
    with pytest.raises(UserError, match="riscv64"):
        onednn_links.link_onednn(tmp_path, "riscv64")


def test_onednn_links_are_made_kept_and_repaired(tmp_path, monkeypatch):
    folder = tmp_path / ".cache" / "jittor" / "mkl" / "dnnl_lnx_2.2.0_cpu_gomp"
    without_installed_onednn(monkeypatch, tmp_path / "first")
    _, library = onednn_package(tmp_path / "first")
    assert onednn_links.link_onednn(tmp_path, "x86_64") == library
    inode = (folder / "include").lstat().st_ino

    without_installed_onednn(monkeypatch, tmp_path / "second")
    _, other = onednn_package(tmp_path / "second")
    assert onednn_links.link_onednn(tmp_path, "x86_64") == library  # another environment's, and in order
    assert (folder / "include").lstat().st_ino == inode

    library.rename(library.with_name("gone"))  # that environment is deleted
    assert onednn_links.link_onednn(tmp_path, "x86_64") == other
    assert (folder / "lib" / "libdnnl.so.2").resolve() == other
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []


@NO_JITTOR
def test_already_imported_with_other_settings(machine, monkeypatch):
    monkeypatch.setitem(sys.modules, "jittor", types.SimpleNamespace())
    os.environ.update({"cc_flags": " -Ofast ", "use_mkl": "1", "use_mpi": "0", "nvcc_path": ""})
    os.environ["OMP_NUM_THREADS"] = "2"
    with pytest.raises(UserError) as error:
        environment.prepare("cpu", 2)
    assert "cc_flags is ' -Ofast '" in one_line(error) and "start a new process" in one_line(error)
    os.environ["cc_flags"] = " -O3 "
    assert environment.prepare("cpu", 2).record()["device"] == "cpu"
    with pytest.raises(UserError, match="OMP_NUM_THREADS is '2', expected '1'"):
        environment.prepare("cpu", 1)


@NO_JITTOR
def test_already_imported_by_us(machine, monkeypatch):
    prepared = environment.prepare("cpu", 2)
    monkeypatch.setitem(sys.modules, "jittor", types.SimpleNamespace())
    assert environment.prepare("cpu", 2) is prepared
    with pytest.raises(UserError, match="OMP_NUM_THREADS"):
        environment.prepare("cpu", 1)


@NO_JITTOR
def test_cuda_without_a_driver(machine, monkeypatch):
    def no_library(name):
        raise OSError(name)

    monkeypatch.setattr(environment.cuda.ctypes, "CDLL", no_library)
    with pytest.raises(UserError) as error:
        environment.prepare("cuda")
    assert "no NVIDIA driver" in one_line(error)


@NO_JITTOR
def test_real_import_keeps_ieee_rules_and_uses_onednn():
    """With the machine's own cache: minutes the first time, seconds afterwards."""
    code = (
        "from frameworks.jittor_rtdetr.runtime.environment import import_jittor\n"
        "import numpy as np\n"
        "jt = import_jittor('cpu', 2)\n"
        "x = jt.array(np.array([np.nan, 1.0]))\n"
        "assert str(x.dtype) == 'float64', x.dtype\n"
        "assert (x != x).numpy().tolist() == [True, False]\n"
        "assert np.isnan((x - x).numpy()[0])\n"
        "assert (jt.array(np.float32([1e-40])) * 1.0).numpy()[0] > 0\n"
        "jt.nn.conv2d(jt.ones((1, 4, 8, 8)), jt.ones((4, 4, 3, 3))).sync()\n"
        "assert import_jittor('cpu', 2) is jt\n"
        "assert 'twin-detr/cpu-' in jt.flags.cache_path, jt.flags.cache_path\n"
    )
    root, variables = Path(__file__).parents[2], os.environ | {"DNNL_VERBOSE": "1"}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "verbose,exec,cpu,convolution" in run.stdout
