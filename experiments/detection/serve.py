"""The command that serves the page on which images are dropped."""

from dataclasses import dataclass
from typing import Any

from experiments.command import COMPLETE, Parser
from experiments.detection.options import BOTH, Subject, add_model, read_model
from experiments.detection.page import load_gradio, serve
from experiments.detection.session import open_session


@dataclass(frozen=True)
class Request(Subject):
    """A page as it was asked for; without ``port`` the first free one from 7860 on."""

    port: int | None = None


def start(arguments: list[str] | None) -> int:
    """Do what the arguments of experiments/demo.py ask for, until Ctrl-C. Raises UserError."""
    request = Request(**read_model(_parser().parse_args(arguments)))
    request.check()
    load_gradio()  # a missing package is said before the weights are read
    with open_session(request.model(), request.machine) as session:
        serve(session, request.threshold, request.port)
    return COMPLETE


def _parser() -> Parser:
    parser = Parser(
        prog="python experiments/demo.py",
        description="Serve a page, for this machine alone: drop an image, see what both frameworks detect.",
    )
    add_model(parser, framework=BOTH)
    add: Any = parser.add_argument
    add("--port", type=int, metavar="N", help="default: the first free one from 7860 on")
    return parser
