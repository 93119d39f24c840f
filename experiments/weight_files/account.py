"""What of a file fits a model, and what does not: the account that every command prints."""

from dataclasses import dataclass, field

import numpy as np

from experiments.weight_files.computed_entries import is_constant
from experiments.weight_files.names import canonical_names
from frameworks.arrays import Arrays
from frameworks.config import PRESETS, ModelSpec
from frameworks.errors import UserError
from frameworks.state.named_shapes import Shape
from frameworks.state.parameters import state_shapes

_COUNTER = "num_batches_tracked"
_SHOWN = 8  # names of each kind that the account lists


@dataclass
class Account:
    """Names by their fate. Counters of batch norms (no weights) are set to 0 where missing and never mismatch."""

    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    mismatched: dict[str, str] = field(default_factory=dict)  # name -> what is wrong with it
    unused: list[str] = field(default_factory=list)
    counters: list[str] = field(default_factory=list)  # set to 0, or dropped
    constants: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return not (self.missing or self.mismatched or self.unused)

    @property
    def faults(self) -> int:
        return len(self.missing) + len(self.mismatched) + len(self.unused)

    def summary(self) -> str:
        """One line, with the first name of each fault."""
        parts = [f"{len(self.matched)} matched"]
        for title, names in self._faults().items():
            parts.append(f"{len(names)} {title}" + (f" (first {names[0]})" if names else ""))
        return ", ".join(parts)

    def lines(self) -> list[str]:
        """The whole account, long lists cut."""
        lines = [f"matched            {len(self.matched)}"]
        for title, names in self._faults().items():
            lines.append(f"{title:<18} {len(names)}")
            lines += [f"  {name}" for name in names[:_SHOWN]]
            lines += [f"  ... and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
        if self.counters:
            lines.append(f"counters           {len(self.counters)} of batch norms differ: set to 0, or dropped")
        if self.constants:
            lines.append(
                f"computed           {len(self.constants)} entries that are no weights (anchors and the like)"
            )
        return lines

    def _faults(self) -> dict[str, list[str]]:
        mismatched = [f"{name} {what}" for name, what in self.mismatched.items()]
        return {"missing": self.missing, "shape-mismatched": mismatched, "unused": self.unused}


def fit(arrays: Arrays, spec: ModelSpec) -> tuple[Arrays, Account]:
    """What fits, under canonical names in canonical order, and the account.

    Raises:
        UserError: the names are Hugging Face's, and Hugging Face has no such model.
    """
    named, shapes = canonical_names(arrays, spec), state_shapes(spec)
    weights, account = {}, Account()
    for name, shape in shapes.items():
        if name.endswith(f".{_COUNTER}"):
            weights[name] = _counter(named.get(name))
            (account.matched if name in named else account.counters).append(name)
        elif name not in named:
            account.missing.append(name)
        elif wrong := _mismatch(named[name], shape):
            account.mismatched[name] = wrong
        else:
            weights[name] = named[name]
            account.matched.append(name)
    for name in named.keys() - shapes.keys():
        place = account.constants if is_constant(name) else account.unused
        (account.counters if name.endswith(f".{_COUNTER}") else place).append(name)
    for names in (account.unused, account.constants):
        names.sort()
    return weights, account


def best_presets(arrays: Arrays) -> tuple[list[str], Account | None]:
    """The presets that a file fits best, all equally well, and the account; none if hardly anything fits."""
    found: dict[str, Account] = {}
    for name, spec in PRESETS.items():
        try:
            found[name] = fit(arrays, spec.model)[1]
        except UserError:  # a model that Hugging Face does not have
            continue
    fewest = min((account.faults for account in found.values()), default=0)
    best = {name: account for name, account in found.items() if account.faults == fewest}
    account = next(iter(best.values()), None)
    if account is None or 2 * len(account.matched) < len(account.missing) + len(account.mismatched):
        return [], None
    return list(best), account


def looks_like(arrays: Arrays) -> str:
    """``it looks like P`` for an error, or that it looks like nothing known."""
    names, account = best_presets(arrays)
    if account is None:
        return "its names are those of no preset"
    return f"it looks like {' or '.join(names)}" + ("" if account.complete else ", not exactly")


def require_finite(weights: Arrays, source: object) -> None:
    """Raises UserError, with the first name, if a weight is NaN or infinite."""
    bad = [name for name, array in weights.items() if not is_constant(name) and not_finite(array)]
    if bad:
        raise UserError(
            f"{source}: {len(bad)} tensors hold NaN or infinite numbers, first {bad[0]}; the training that wrote "
            "it diverged or the file is damaged"
        )


def not_finite(array: np.ndarray) -> int:
    """How many numbers are NaN or infinite."""
    return int(array.size - np.count_nonzero(np.isfinite(array))) if array.dtype.kind == "f" else 0


def _counter(array: np.ndarray | None) -> np.ndarray:
    """int64, shape (): Jittor has no scalars and no 64-bit integers, and its batch norm has no counter at all."""
    return np.asarray(0 if array is None or array.size != 1 else array.reshape(()), np.int64)


def _mismatch(array: np.ndarray, shape: Shape) -> str:
    if array.shape != shape:
        return f"is {list(array.shape)}, the preset has {list(shape)}"
    return "" if array.dtype.kind == "f" else f"is {array.dtype}, the preset has floating-point numbers"
