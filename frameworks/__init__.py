"""The twins and what they share. A third framework is one folder and one line in ADAPTERS."""

import importlib
from typing import cast

from frameworks.errors import UserError
from frameworks.protocol import Framework

ADAPTERS = {
    "torch": "frameworks.torch_rtdetr.adapter",
    "jittor": "frameworks.jittor_rtdetr.adapter",
}
NAMES = tuple(ADAPTERS)


def load(name: str) -> Framework:
    """Import a framework's adapter, and with it the framework.

    Raises:
        UserError: unknown name, or the framework is not installed for this interpreter.
    """
    if name not in ADAPTERS:
        raise UserError(f"unknown framework {name!r}; known frameworks: {', '.join(NAMES)}")
    try:
        module = importlib.import_module(ADAPTERS[name])
    except ModuleNotFoundError as error:
        raise UserError(f"framework {name!r} needs the package {error.name!r}: pip install {error.name}") from None
    return cast(Framework, module.FRAMEWORK)
