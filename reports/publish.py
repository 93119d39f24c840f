"""Fill the templates of the reports, install a finished page together with its figures, and the command for it."""

import argparse
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from frameworks.errors import exit_status
from reports import formatting as show
from reports.language import say

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
    environment.filters |= {
        each.__name__: each for each in (show.label, show.plain, show.prose, show.code, show.cell)
    }
    environment.globals["say"] = say
    text = environment.get_template(template).render(context)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")  # a path may have bytes that are no text


@contextlib.contextmanager
def working_folder(out_dir: Path, what: str) -> Iterator[Path]:
    """A folder within ``out_dir`` for the files of a page in progress, which is gone after the block.

    What builds that were killed have left is removed first: its number is that of no process now.
    """
    for path in out_dir.glob(f".{what}-*"):
        if not Path("/proc", path.name.split("-")[1]).exists():
            shutil.rmtree(path, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".{what}-{os.getpid()}-", dir=out_dir) as name:
        yield Path(name)


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


def page_command(
    arguments: list[str] | None,
    prog: str,
    session: str,
    build: Callable[[Path, Path], Path],
    passed: Callable[[Path], bool],
) -> int:
    """Build the page of a session from its records alone: the command line RECORDS OUT_DIR.

    Args:
        arguments: the command line (None: that of the process).
        session: what the page is about, in words.
        build: (records, out_dir) -> path of the page.
        passed: records -> whether nothing failed.

    Returns:
        the exit status: 0 if all passed, 1 if not, 2 (one line on stderr) for unreadable records.
    """
    parser = argparse.ArgumentParser(prog=prog, description=f"Build the page of {session}.")
    parser.add_argument("records", type=Path, help="JSON lines")
    parser.add_argument("out_dir", type=Path, help="where the page and its figures go")
    options = parser.parse_args(arguments)

    def command() -> int:
        print(build(options.records, options.out_dir))
        return int(not passed(options.records))

    return exit_status(command)
