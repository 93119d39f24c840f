"""The implementations and what they share. A third framework is one folder and one line in ADAPTERS."""

import importlib
from typing import cast

from frameworks.config import RecipeSpec
from frameworks.errors import UserError
from frameworks.protocol import Framework

# Name -> module of its adapter. The first one is the reference; the others are candidates, compared with it.
ADAPTERS = {
    "torch": "frameworks.torch_rtdetr.adapter",
    "jittor": "frameworks.jittor_rtdetr.adapter",
}
# Independent implementations that judge the twins. A run does not train them; a benchmark may time them.
JUDGES = {"hf": "frameworks.hf_rtdetr.adapter", "official": "frameworks.official_rtdetr.adapter"}
REFERENCE = next(iter(ADAPTERS))
MIXED_PRECISION = ("torch",)  # the frameworks that can train with ``recipe.amp``


def candidates() -> tuple[str, ...]:
    """Every framework but the reference, in the order of ``ADAPTERS``."""
    return tuple(name for name in ADAPTERS if name != REFERENCE)


def require_precision(recipe: RecipeSpec, *names: str) -> None:
    """Raise UserError if the recipe asks for mixed precision and one of the named frameworks has none."""
    lacking = [name for name in names if name not in MIXED_PRECISION]
    if recipe.amp and lacking:
        raise UserError(
            f"--use-amp (recipe.amp): {' and '.join(lacking)} cannot train in mixed precision on any device; train "
            f"{' and '.join(MIXED_PRECISION)} alone (run.py --frameworks, train.py --framework), or all in float32"
        )


def adapter_of(name: str) -> str:
    """Dotted module of a framework's adapter. Raises UserError for an unknown name."""
    if name not in ADAPTERS | JUDGES:
        raise UserError(f"unknown framework {name!r}; known frameworks: {', '.join(ADAPTERS)}")
    return (ADAPTERS | JUDGES)[name]


def load(name: str, adapter: str | None = None) -> Framework:
    """Import a framework's adapter, and with it the framework.

    Args:
        adapter: dotted module that defines ``FRAMEWORK``; None: the one registered under ``name``.

    Raises:
        UserError: unknown name, or the framework is not installed for this interpreter.
    """
    try:
        module = importlib.import_module(adapter or adapter_of(name))
    except ModuleNotFoundError as error:
        raise UserError(f"framework {name!r} needs the package {error.name!r}: pip install {error.name}") from None
    return cast(Framework, module.FRAMEWORK)
