"""One self-contained HTML file of a Markdown page: its pictures are inside, and nothing else is loaded."""

import base64
import html
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from reports.publish import render

# What our own templates fold; any other HTML is text.
FOLD = re.compile(r"<details><summary>[^<>]*</summary>\s*|</details>\s*")
INLINE_NAMES = re.compile(r"[\w.-]+\.png")


def html_page(markdown: str, folder: Path, language: str = "en") -> str:
    """The page as one HTML file. `folder` holds its pictures; one that is not there becomes its description."""
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    renderer: Any = parser.renderer
    renderer.rules |= {"html_block": _fold, "html_inline": _escaped, "image": _Pictures(folder)}
    tokens = parser.parse(markdown)
    headings = [(token, after) for token, after in pairwise(tokens) if token.type == "heading_open"]
    for token, after in headings:
        token.attrSet("id", slug(after.content))
    title = parser.renderInline(headings[0][1].content) if headings else ""
    body = renderer.render(tokens, parser.options, {})
    facts = {"title": re.sub(r"<[^>]*>", "", title).strip(), "body": body, "language": language}
    return render("page.html.j2", facts)


def slug(heading: str) -> str:
    """The anchor that GitHub and `html_page` give to a heading: lower case, no punctuation, `-` for a space."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def _fold(tokens: Sequence[Token], place: int, *_: Any) -> str:
    content = tokens[place].content
    return content if FOLD.fullmatch(content) else f"<p>{html.escape(content)}</p>\n"


def _escaped(tokens: Sequence[Token], place: int, *_: Any) -> str:
    return html.escape(tokens[place].content)


class _Pictures:
    """Renders a picture with its bytes inside; only PNG files that lie beside the page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, tokens: Sequence[Token], place: int, *_: Any) -> str:
        name, told = str(tokens[place].attrGet("src") or ""), html.escape(tokens[place].content)
        path = self.folder / name
        if not (INLINE_NAMES.fullmatch(name) and path.is_file()):
            return told
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        return f'<img src="data:image/png;base64,{data}" alt="{told}">'
