"""Fill the templates of the reports, and install a finished page together with its figures."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reports import formatting as show

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, context: dict[str, Any]) -> str:
    """Fill a Markdown template. Raises jinja2's UndefinedError for a name that `context` lacks."""
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
    """Move the figures that match `pattern`, then the page, from `source` to `target`; return the page's path.

    The page goes last, so that it never links a missing figure; figures of an earlier page that this one lacks are
    removed. Both folders must be on one file system.
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
