"""Turning filled templates and figures into files, so that a reader never sees half a page."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reports import formatting as show

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, context: dict[str, Any]) -> str:
    """Fill a Markdown template; a name that the template wants and `context` lacks is an error."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, not HTML
    )
    environment.filters["label"] = show.label
    return environment.get_template(template).render(context)


def install(source: Path, target: Path, page: str, pattern: str) -> Path:
    """Move finished figures and then the page, so that the page never names a figure that is not there.

    Both folders are on one file system. Figures of an earlier page that this one lacks are removed.
    """
    fresh = sorted(source.glob(pattern))
    for path in fresh:
        path.replace(target / path.name)
    (source / page).replace(target / page)
    names = {path.name for path in fresh}
    for stale in target.glob(pattern):
        if stale.name not in names:
            stale.unlink()
    return target / page
