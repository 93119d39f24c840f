"""A temporary copy of the tree in which one fault at a time is planted, and hashes of what was tested."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from parity_tests.mutants.catalogue import FOLDER, ROOT, Mutant

FOLDERS = ("frameworks", "parity_tests", "experiments", "reports")
TEXTS = (".py", ".h", ".cpp", ".toml", ".yml", ".json")


class Workspace:
    """The copy; ``planted`` puts a fault into it and takes it out again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for folder in FOLDERS:
            leave_out = shutil.ignore_patterns("__pycache__", "generated")
            shutil.copytree(ROOT / folder, path / folder, ignore=leave_out)
        for name in ("pyproject.toml", "noxfile.py"):
            shutil.copy(ROOT / name, path / name)
        shutil.copytree(ROOT / "docs", path / "docs")

    @contextmanager
    def planted(self, mutant: Mutant) -> Iterator[Path]:
        """The tree with the fault."""
        file = self.path / mutant.file
        original = file.read_text("utf-8")
        try:
            _write(file, mutant.patched(original))
            yield self.path
        finally:
            _write(file, original)


def _write(file: Path, text: str) -> None:
    """Replace a file and forget its bytecode, which Python knows by size and second of the source alone."""
    file.write_text(text, "utf-8")
    for compiled in file.parent.glob(f"__pycache__/{file.stem}.*.pyc"):
        compiled.unlink()


@contextmanager
def workspace() -> Iterator[Workspace]:
    """A copy of the tree that is deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        yield Workspace(Path(folder))


def code_hash(*folders: str, without: str = "") -> str:
    """Hash of all source below these folders of the repository, but for this one's catalogue and runner."""
    state = hashlib.sha256()
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*")):
        name = path.relative_to(ROOT).as_posix()
        apart = FOLDER in path.parents or "generated" in path.parts or (without and name.startswith(without))
        if path.suffix in TEXTS and not apart:
            state.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return state.hexdigest()[:16]


def key_of(mutant: Mutant, code: str) -> str:
    """Hash of a fault and the code it was planted in: the same as long as neither changes."""
    text = "\0".join((mutant.file, mutant.find, mutant.replace, code))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
