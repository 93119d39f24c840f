"""experiments/demo.py: what it computes when, and the page itself in headless Chromium without a network.

The browser's test is skipped where something is missing, as in the unit session. To run it:

    pip install -e '.[demo]' playwright && apt-get install chromium && pytest experiments/tests/test_demo.py
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from experiments.demo import main
from experiments.detection.model import choose_model
from experiments.detection.page import Page
from experiments.detection.session import Session
from experiments.tests.data_sets import user_error
from experiments.tests.runs import said_error
from experiments.tests.steppers import CountingFramework
from experiments.tests.test_detect import Fixed, picture, weights
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec

__all__ = ["weights"]  # the fixture
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MISSING = [name for name in ("gradio", "playwright") if importlib.util.find_spec(name) is None]
ROOT = Path(__file__).resolve().parents[2]


class Remembering(CountingFramework):
    """Remembers which decoder layers it was asked for."""

    def __init__(self, stepper: Fixed) -> None:
        super().__init__(stepper)
        self.fixed, self.layers = stepper, list[int]()

    def trainer(self, spec: ExperimentSpec, weights: Arrays, *, device: str) -> Fixed:
        self.layers.append(spec.model.decoder.eval_layer)
        return self.fixed


class NoGradio:
    """In Gradio's place: its error alone."""

    class Error(Exception):
        def __init__(self, message: str, print_exception: bool) -> None:
            super().__init__(message)


@pytest.fixture
def framework() -> Remembering:
    return Remembering(Fixed())


@pytest.fixture
def page(weights: str, framework: Remembering, tmp_path: Path) -> Page:
    other = Remembering(Fixed(moved=0.25))
    model = choose_model(weights, preset="tiny", wanted=("torch", "jittor"))
    pair: Any = {"torch": framework, "jittor": other}
    return Page(Session(model, pair, "cpu"), NoGradio, tmp_path)


def test_the_threshold_computes_nothing_and_the_depth_only_once(
    page: Page, framework: Remembering, tmp_path: Path
) -> None:
    file = str(picture(tmp_path / "a.png"))
    looked, shown, text = page.look(file, 2, 0.3)
    assert shown is not None and text.startswith("Largest difference: score 0, box 0.25 px") and "dog" in text
    assert framework.layers == [1] and len(framework.fixed.seen) == 1
    above, text = page.show(looked, 0.85)
    assert above is not None and shown.tobytes() != above.tobytes() and "dog" not in text
    assert len(framework.fixed.seen) == 1
    page.look(file, 1, 0.3)
    page.look(file, 1, 0.3)
    assert framework.layers == [1, 0] and len(framework.fixed.seen) == 3
    assert page.look(None, 1, 0.3) == (None, None, "") and page.show(None, 0.3) == (None, "")


def test_mistakes_are_one_line(page: Page, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(NoGradio.Error, match="not an image"):
        page.look(str(tmp_path / "a.jpg"), 2, 0.3)
    user_error(lambda: page.session.look(Image.new("RGB", (9, 9)), 3), "a depth of 3 layers; tiny has 1 to 2")


def test_without_gradio_it_says_what_to_install(
    weights: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    for name in ("GRADIO_ANALYTICS_ENABLED", "HF_HUB_OFFLINE", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, "")  # so that they are put back
    assert main([weights, "--preset", "tiny"]) == 2
    said_error(capsys, "pip install -e '.[demo]'")


@pytest.fixture
def url(weights: str) -> Iterator[str]:
    """The address of a page that a process of its own serves."""
    command = [sys.executable, "experiments/demo.py", weights, "--preset", "tiny", "--threshold", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("open http://127.0.0.1:"), line
            yield line.split()[1]
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130, "Ctrl-C ends it"


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_the_page_in_a_browser_without_a_network(url: str, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright  # pyright: ignore[reportMissingImports]

    outside: list[str] = []

    def route(request: Any) -> None:
        local = request.request.url.startswith((url, "data:", "blob:"))
        outside.extend([] if local else [request.request.url])
        request.continue_() if local else request.abort()

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] if _is_root() else [])
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.route("**/*", route)
        page.goto(url)
        page.set_input_files("input[type=file]", picture(tmp_path / "图.png", size_wh=(64, 48)))
        page.wait_for_selector("#shown img")
        text = page.inner_text("#text")
        assert "Largest difference" in text and "PyTorch" in text
        page.get_by_label("1", exact=True).check()
        page.wait_for_function("before => document.querySelector('#text').innerText != before", arg=text)
        page.get_by_role("spinbutton").fill("1")
        page.get_by_role("spinbutton").press("Enter")
        page.wait_for_function("document.querySelector('#text').innerText.includes('othing to compare')")
        browser.close()
    assert not outside, "nothing is asked of another machine"


def _is_root() -> bool:
    return os.geteuid() == 0  # Chromium's sandbox refuses to run as root
