"""The implementations and what they share. A third framework is one folder and one line in ADAPTERS."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from frameworks.config import ExperimentSpec, RecipeSpec
from frameworks.errors import UserError
from frameworks.protocol import Framework

if TYPE_CHECKING:
    from frameworks.detector import OpenDetector, Weights

# Name -> module of its adapter. The first one is the reference; the others are candidates, compared with it.
ADAPTERS = {
    "torch": "frameworks.torch_rtdetr.adapter",
    "jittor": "frameworks.jittor_rtdetr.adapter",
}
# Independent implementations that judge the twins. A run does not train them; a benchmark may time them.
JUDGES = {"hf": "frameworks.hf_rtdetr.adapter", "official": "frameworks.official_rtdetr.adapter"}
# Name -> module whose require() raises UserError where the framework cannot start, and does not import it. What is
# not here needs no more than its packages.
REQUIREMENTS = {"jittor": "frameworks.jittor_rtdetr.runtime.checks"}
REFERENCE = next(iter(ADAPTERS))
MIXED_PRECISION = ("torch",)  # the frameworks that can train with ``recipe.amp``


def candidates() -> tuple[str, ...]:
    """Every framework but the reference, in the order of ``ADAPTERS``."""
    return tuple(name for name in ADAPTERS if name != REFERENCE)


def require_startable(*names: str) -> None:
    """Raise UserError at once if one of the named frameworks cannot start with this interpreter on this machine."""
    for name in names:
        if name in REQUIREMENTS:
            importlib.import_module(REQUIREMENTS[name]).require()


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
        adapter: dotted module that defines ``FRAMEWORK``, or a user's own ``path/to/file.py:NAME``, whose NAME need
            not be a whole framework (experiments/diagnosis); None: the one registered under ``name``.

    Raises:
        UserError: unknown name, no such file, or a package is not installed for this interpreter.
    """
    module, _, member = (adapter or adapter_of(name)).rpartition(":")
    try:
        if module:
            return cast(Framework, _own_member(Path(module), member))
        return cast(Framework, importlib.import_module(member).FRAMEWORK)
    except ModuleNotFoundError as error:
        raise UserError(f"framework {name!r} needs the package {error.name!r}: pip install {error.name}") from None


def load_model(
    spec: str | Path | ExperimentSpec | None,
    weights: "Weights",
    framework: str = REFERENCE,
    *,
    device: str = "cpu",
) -> "OpenDetector":
    """Open a trained model in a framework, in a process of its own; only NumPy arrays pass between the two.

        model = frameworks.load_model("rtdetr_r18vd", "r18.safetensors", framework="jittor")
        found = model.detect("street.jpg", threshold=0.5)
        print(found.labels_N, found.scores_N, found.boxes_xyxy_N4)  # classes 0..K-1; boxes in pixels

    Args:
        spec: a preset, a YAML file (also an official one), or a spec; None: that of a run's checkpoint.
        weights: the whole state by canonical (official) name, or a safetensors file of it: converted weights, or a
            checkpoint of a run, of which the averaged weights are taken. Other formats are read by
            ``experiments.weight_files``, which stands above this package: its command ``convert`` writes this one.
        framework: "torch" or "jittor".
        device: "cpu" or "cuda".

    Raises:
        UserError: unknown preset or framework, or weights that are missing or not those of this model.
        WorkerFailure: the framework's process died while it started.
    """
    from frameworks.detector import OpenDetector  # only here: it needs Pillow, which a worker may lack

    return OpenDetector(spec, weights, framework, device)


def _own_member(path: Path, member: str) -> Any:
    """What a Python file defines under a name. Files beside it can be imported, as when Python runs the file."""
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is no Python file")
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    if not hasattr(module, member):
        raise UserError(f"{path} defines no {member!r}; expected FILE.py:NAME with a name that the file defines")
    return getattr(module, member)
