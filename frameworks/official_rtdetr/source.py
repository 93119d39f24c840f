"""A checkout of the official RT-DETR code: where it is, which of its configuration files belongs to a preset."""

import os
import re
from pathlib import Path

from frameworks.errors import UserError

NAME = "official"  # of the framework, in frameworks.JUDGES and on command lines
VARIABLE = "TWIN_DETR_OFFICIAL"  # the checkout's folder, for the worker process
CORE = Path("src/core/__init__.py")


def require_checkout(folder: Path) -> Path:
    """``folder``, absolute. Raises UserError unless it is the rtdetr_pytorch or rtdetrv2_pytorch folder."""
    if not (folder / CORE).is_file():
        raise UserError(f"{folder} has no {CORE}; give the official folder rtdetr_pytorch or rtdetrv2_pytorch")
    return folder.absolute()


def checkout() -> Path:
    """The folder that VARIABLE names. Raises UserError if it is unset or wrong."""
    if not os.environ.get(VARIABLE):
        raise UserError(f"{VARIABLE} is not set; benchmark.py sets it for --entrant {NAME}=PATH")
    return require_checkout(Path(os.environ[VARIABLE]))


def configuration_file(folder: Path, preset: str) -> Path:
    """The configuration file of a preset for COCO, such as rtdetr_r18vd_6x_coco.yml.

    Raises:
        UserError: there is none, or more than one.
    """
    name = re.compile(rf"{re.escape(preset)}_\d+[ex]_coco\.yml")
    found = [path for path in sorted((folder / "configs").rglob("*.yml")) if name.fullmatch(path.name)]
    if len(found) != 1:
        raise UserError(
            f"{folder / 'configs'} has {len(found)} files {preset}_*_coco.yml for the preset; expected 1"
        )
    return found[0]
