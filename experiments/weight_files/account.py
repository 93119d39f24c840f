"""Compare a file's tensors with a model's; every command prints the account of it."""

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from experiments.weight_files.computed_entries import is_constant
from experiments.weight_files.names import canonical_names
from frameworks.arrays import Arrays
from frameworks.config import PRESETS, ModelSpec
from frameworks.errors import UserError
from frameworks.state.named_shapes import Shape
from frameworks.state.parameters import state_shapes

PARTS = ("backbone", "encoder", "decoder")
_COUNTER = "num_batches_tracked"
_SHOWN = 8  # names of each kind that the account lists
_CLASS_HEADS = re.compile(r"decoder\.(enc_score_head|dec_score_head\.\d+|denoising_class_embed)\.\w+")
_SCORES = "decoder.enc_score_head.bias"  # its length is the number of classes


@dataclass
class Account:
    """Names grouped by outcome.

    A batch norm's counter is no weight: it becomes 0 where the file has none, and never mismatches. ``classes`` are
    the numbers of classes of the file and of the model, where they differ.
    """

    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    mismatched: dict[str, str] = field(default_factory=dict)  # name -> the difference
    unused: list[str] = field(default_factory=list)
    counters: list[str] = field(default_factory=list)  # set to 0, or dropped
    constants: list[str] = field(default_factory=list)
    classes: tuple[int, int] | None = None

    @property
    def complete(self) -> bool:
        """Whether the file is exactly the model."""
        return self.faults == 0

    @property
    def faults(self) -> int:
        """Number of names that are missing, mismatched or unused."""
        return len(self.missing) + len(self.mismatched) + len(self.unused)

    def summary(self) -> str:
        """One line: the counts, each with its first name, and what explains them."""
        parts = [f"{len(self.matched)} matched"]
        for title, names in self._faults().items():
            parts.append(f"{len(names)} {title}" + (f" (first {names[0]})" if names else ""))
        return ", ".join([*parts, *self.remarks()])

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
        return lines + [f"NOTE               {remark}" for remark in self.remarks()]

    def remarks(self) -> list[str]:
        """What the counts alone do not say: another number of classes, and parts that the file lacks altogether."""
        remarks = []
        if self.classes:
            theirs, ours = self.classes
            heads = sum(_CLASS_HEADS.fullmatch(name) is not None for name in self.mismatched)
            remarks.append(f"it has {theirs} classes, the model {ours}: {heads} tensors of class heads do not fit")
        return remarks + [f"NOTHING of the {part} fits" for part in self.absent_parts()]

    def absent_parts(self) -> list[str]:
        """Backbone, encoder or decoder, where the model has the part but no tensor of it matched."""
        found = {name.partition(".")[0] for name in self.matched}
        wanted = {name.partition(".")[0] for name in (*self.missing, *self.mismatched)}
        return [part for part in PARTS if part in wanted - found]

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
    if _SCORES in account.mismatched and named[_SCORES].ndim == 1:
        account.classes = len(named[_SCORES]), spec.num_classes
    return weights, account


def without_class_heads(shapes: dict[str, Shape]) -> dict[str, Shape]:
    """The entries of a state that do not depend on the number of classes."""
    return {name: shape for name, shape in shapes.items() if not _CLASS_HEADS.fullmatch(name)}


def group_of(name: str) -> str:
    """The first two parts of a name and a number after them: ``backbone.res_layers.0``, ``decoder.enc_output``."""
    parts = name.split(".")
    return ".".join(parts[: 3 if len(parts) > 3 and parts[2].isdigit() else 2])


def grouped(names: Collection[str], limit: int = 4) -> str:
    """How many names there are of each group, as in ``30 (backbone.conv1 15, backbone.res_layers.0 15)``."""
    counts = Counter(map(group_of, names))
    said = [f"{group} {count}" for group, count in list(counts.items())[:limit]]
    more = [f"{len(counts) - limit} more groups"] if len(counts) > limit else []
    return f"{len(names)} ({', '.join([*said, *more])})" if counts else "0"


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
