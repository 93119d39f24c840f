"""Compare a file's tensors with a model's; every command prints the account of it."""

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
    """Names grouped by outcome.

    A batch norm's counter is no weight: it becomes 0 where the file has none, and never mismatches.
    """

    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    mismatched: dict[str, str] = field(default_factory=dict)  # name -> the difference
    unused: list[str] = field(default_factory=list)
    counters: list[str] = field(default_factory=list)  # set to 0, or dropped
    constants: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether the file is exactly the model."""
        return self.faults == 0

    @property
    def faults(self) -> int:
        """Number of names that are missing, mismatched or unused."""
        return len(self.missing) + len(self.mismatched) + len(self.unused)

    def summary(self) -> str:
        """One line: the counts, each with its first name."""
        parts = [f"{len(self.matched)} matched"]
        for title, names in self._faults().items():
            parts.append(f"{len(names)} {title}" + (f" (first {names[0]})" if names else ""))
        return ", ".join(parts)

    def lines(self) -> list[str]:
        """The account as lines of text; a long list of names is cut."""
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
    """Select the arrays that fit a model.

    Returns:
        these arrays under canonical names in canonical order, with every counter, and the account.

    Raises:
        UserError: the names are Hugging Face's, and it cannot represent this model.
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
        group = account.constants if is_constant(name) else account.unused
        (account.counters if name.endswith(f".{_COUNTER}") else group).append(name)
    for names in (account.unused, account.constants):
        names.sort()
    return weights, account


def best_presets(arrays: Arrays) -> tuple[list[str], Account | None]:
    """The presets that a file fits best, all equally well, and the account; none if less than a third fits."""
    found: dict[str, Account] = {}
    for name, spec in PRESETS.items():
        try:
            found[name] = fit(arrays, spec.model)[1]
        except UserError:  # Hugging Face's names, and it cannot represent this preset
            continue
    fewest = min((account.faults for account in found.values()), default=0)
    best = {name: account for name, account in found.items() if account.faults == fewest}
    account = next(iter(best.values()), None)
    if account is None or 2 * len(account.matched) < len(account.missing) + len(account.mismatched):
        return [], None
    return list(best), account


def looks_like(arrays: Arrays) -> str:
    """The end of an error message: which preset the file looks like."""
    names, account = best_presets(arrays)
    if account is None:
        return "its names are those of no preset"
    return f"it looks like {' or '.join(names)}" + ("" if account.complete else ", not exactly")


def require_finite(weights: Arrays, source: object) -> None:
    """Raise UserError, with the first name, if a weight is NaN or infinite; ``source`` is named in the message."""
    bad = [name for name, array in weights.items() if not is_constant(name) and not_finite(array)]
    if bad:
        raise UserError(
            f"{source}: {len(bad)} tensors hold NaN or infinite numbers, first {bad[0]}; the training that wrote "
            "it diverged or the file is damaged"
        )


def not_finite(array: np.ndarray) -> int:
    """Number of elements that are NaN or infinite."""
    return int(array.size - np.count_nonzero(np.isfinite(array))) if array.dtype.kind == "f" else 0


def _counter(array: np.ndarray | None) -> np.ndarray:
    """The counter as int64 of shape []: Jittor's files have an int32 of shape [1], or no counter."""
    return np.asarray(0 if array is None or array.size != 1 else array.reshape(()), np.int64)


def _mismatch(array: np.ndarray, shape: Shape) -> str:
    if array.shape != shape:
        return f"is {list(array.shape)}, the preset has {list(shape)}"
    return "" if array.dtype.kind == "f" else f"is {array.dtype}, the preset has floating-point numbers"
