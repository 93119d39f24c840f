"""The pictures of a detection: image files, the images of folders and patterns, and the frames of videos."""

import contextlib
import importlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from experiments.untrusted import reading
from frameworks.errors import UserError
from frameworks.files import user_path
from frameworks.images import load_image

VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv")
_EXTRA = "pip install -e '.[video]'"


@dataclass(frozen=True)
class Picture:
    """A decoded RGB picture. ``frame`` is its number in a video, from 0; None for an image file."""

    path: Path
    frame: int | None
    image: Image.Image

    def __str__(self) -> str:
        return str(self.path) if self.frame is None else f"{self.path}, frame {self.frame}"

    @property
    def stem(self) -> str:
        """The name of a file made from it, without suffix."""
        return self.path.stem if self.frame is None else f"{self.path.stem}-{self.frame:06d}"


def find_files(given: Sequence[str]) -> list[Path]:
    """The files that arguments name, each once: files as they are, the images of a folder, what a pattern matches.

    A folder's images are the files in it, not below it, that have the suffix of an image, in the order of names.

    Raises:
        UserError: nothing of that name, or a folder or pattern without a file.
    """
    return list(dict.fromkeys(path for argument in given for path in _files_of(argument)))


def _files_of(argument: str) -> list[Path]:
    path = user_path(argument)
    if path.is_dir():
        images = Image.registered_extensions()
        found = sorted(each for each in path.iterdir() if each.suffix.lower() in images and each.is_file())
        if not found:
            raise UserError(
                f"{path}: this folder holds no image; folders below it need a pattern: '{path}/**/*.jpg'"
            )
        return found
    if path.exists():
        return [path]
    if not re.search(r"[*?[]", argument):
        raise UserError(f"{path}: no such file; expected an image, a folder, a pattern or a video")
    pattern = str(path.relative_to(path.anchor))
    if not (found := sorted(each for each in Path(path.anchor).glob(pattern) if each.is_file())):
        raise UserError(f"{argument}: no file has such a name")
    return found


def is_video(path: Path) -> bool:
    """Whether a file is a video, by its suffix."""
    return path.suffix.lower() in VIDEOS


def pictures_of(path: Path, stride: int) -> Iterator[Picture]:
    """The picture of an image file, turned upright, or every ``stride``-th frame of a video from the first on.

    Raises:
        UserError: the file cannot be read, or not to its end, or the package for videos is not installed.
    """
    if not is_video(path):
        yield Picture(path, None, load_image(path))
        return
    decoder = video_decoder()
    with reading(path, "a video", "replace or remove the file"), contextlib.ExitStack() as stack:
        container = stack.enter_context(decoder.open(str(path)))
        if not container.streams.video:
            raise UserError(f"{path}: has no pictures; give a video")
        for number, frame in enumerate(container.decode(container.streams.video[0])):
            if number % stride == 0:
                turned = frame.to_image().rotate(frame.rotation, expand=True)  # as a player shows it
                yield Picture(path, number, turned)


def video_decoder() -> Any:
    """The package that decodes videos. Raises UserError where it is not installed."""
    try:
        return importlib.import_module("av")
    except ImportError:
        raise UserError(f"videos need the package av: {_EXTRA}; images need nothing") from None
