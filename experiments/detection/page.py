"""The page that experiments/demo.py serves: drop an image, see both frameworks' detections and their difference."""

import importlib
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

from PIL import Image

from experiments.detection.results import draw, rows
from experiments.detection.session import Looked, Session
from experiments.progress import say
from frameworks.errors import UserError
from frameworks.images import load_image
from reports.frameworks import style_of

LOCAL = "127.0.0.1"  # no other machine can reach the page
_EXTRA = "pip install -e '.[demo]'"
_FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # none is fetched


def load_gradio() -> Any:
    """Gradio, told to stay off the network. Raises UserError where it is not installed."""
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    try:
        return importlib.import_module("gradio")
    except ImportError:
        raise UserError(f"the page needs the package gradio: {_EXTRA}") from None


class Page:
    """What the page shows of a session. One request computes at a time; moving the threshold computes nothing."""

    def __init__(self, session: Session, gradio: Any, folder: Path) -> None:
        self.session, self.gradio, self.folder = session, gradio, folder
        self.lock = threading.Lock()

    def look(self, file: str | None, depth: int, threshold: float) -> tuple[Looked | None, Image.Image | None, str]:
        """Detect on a file that was dropped: what was found, its picture and its text; nothing without a file."""
        if file is None:
            return None, None, ""
        try:
            with self.lock:
                looked = self.session.look(load_image(Path(file)), int(depth))
        except UserError as error:
            say(f"error: {error}")
            raise self.gradio.Error(str(error), print_exception=False) from None
        return looked, *self.show(looked, threshold)

    def show(self, looked: Looked | None, threshold: float) -> tuple[Image.Image | None, str]:
        """The picture and the text of what was found, from ``threshold`` on."""
        if looked is None:
            return None, ""
        model = self.session.model
        with self.lock:
            path = draw(looked.image, looked.above(threshold), model.classes, self.folder / "shown.png")
            picture = Image.open(path)
            picture.load()
        apart = looked.apart(threshold)
        table = "\n".join(rows(looked.every, model.classes, threshold))
        said = str(apart).capitalize() if apart else ""
        return picture, f"{said}\n\n```\n{table or 'nothing'}\n```"

    def blocks(self, threshold: float) -> Any:
        """The page itself."""
        gr, spec = self.gradio, self.session.model.spec
        layers = spec.model.decoder.num_layers
        with gr.Blocks(title="twin-detr", analytics_enabled=False) as blocks:
            frameworks = " and ".join(style_of(name).label for name in self.session.model.weights)
            gr.Markdown(f"## {spec.name}: {frameworks}\n{self.session.model.source}")
            with gr.Row():
                file = gr.File(label="Image", file_types=["image"], type="filepath", height=140)
                with gr.Column():
                    score = gr.Slider(0, 1, threshold, step=0.01, label="Threshold")
                    depth = gr.Radio(list(range(1, layers + 1)), value=self.session.depth, label="Decoder layers")
            shown = gr.Image(
                show_label=False,
                format="png",
                interactive=False,
                buttons=["download", "fullscreen"],
                elem_id="shown",
            )
            text, looked = gr.Markdown(elem_id="text"), gr.State()
            for change in (file.change, depth.change):
                change(self.look, [file, depth, score], [looked, shown, text], api_visibility="private")
            score.change(
                self.show, [looked, score], [shown, text], trigger_mode="always_last", api_visibility="private"
            )
        return blocks


def serve(session: Session, threshold: float, port: int | None) -> None:
    """Serve the page until Ctrl-C. Raises UserError where the port is taken."""
    gradio = load_gradio()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # what is dropped is removed with the page
        blocks = Page(session, gradio, Path(folder)).blocks(threshold)
        theme = gradio.themes.Default(**_FONTS)
        try:
            _, url, _ = blocks.launch(
                server_name=LOCAL,
                server_port=port,
                prevent_thread_lock=True,
                quiet=True,
                share=False,
                ssr_mode=False,
                footer_links=[],
                theme=theme,
            )
        except OSError:
            where = f"port {port} is" if port else "all ports from 7860 on are"
            raise UserError(f"the page cannot be served: {where} taken; choose another --port") from None
        print(f"open {url} (this machine alone; Ctrl-C ends it)", flush=True)
        try:
            threading.Event().wait()
        finally:
            blocks.close(verbose=False)
