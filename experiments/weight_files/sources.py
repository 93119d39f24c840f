"""A file, or the word ``official``, and a preset, or a guess -> weights of a model. What the commands share."""

from dataclasses import dataclass
from pathlib import Path

from experiments.weight_files.account import Account, best_presets, fit, looks_like, require_finite
from experiments.weight_files.computed_entries import split_constants
from experiments.weight_files.official import OFFICIAL, official_checkpoint
from experiments.weight_files.readers import WeightFile, read_weights
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec, preset
from frameworks.errors import UserError


@dataclass(frozen=True)
class Loaded:
    """Weights that fit ``spec``; ``constants`` are the computed entries of the source."""

    file: WeightFile
    spec: ExperimentSpec
    weights: Arrays
    constants: Arrays
    account: Account


def open_source(source: str, preset_name: str | None, *, trust: bool = False, ema: bool = True) -> WeightFile:
    """The file that a user named, or the published one of the preset.

    Raises:
        UserError: as ``read_weights`` and ``official_checkpoint``.
    """
    if source != OFFICIAL:
        return read_weights(Path(source).expanduser(), trust=trust, ema=ema)
    if preset_name is None:
        raise UserError(f"{OFFICIAL} needs --preset: every preset has a checkpoint of its own")
    return read_weights(official_checkpoint(preset_name), trust=trust, ema=ema)


def load_weights(
    file: WeightFile, spec: ExperimentSpec | None, *, partial: bool = False, advice: str = ""
) -> Loaded:
    """Weights for a spec; for the preset that fits, if None. ``advice`` ends the error where they do not.

    Raises:
        UserError: they do not fit exactly (``partial``: at all), fit several presets, or are not finite.
    """
    spec = spec or preset(_guess(file))
    weights, account = fit(file.arrays, spec.model)
    if not account.complete and not partial:
        raise UserError(
            f"{file.path}: does not fit {spec.name}: {account.summary()}; {looks_like(file.arrays)}{advice}"
        )
    if not account.complete:  # no counters of norms that the file does not have
        weights = {name: weights[name] for name in account.matched}
    if not weights:
        raise UserError(f"{file.path}: nothing fits {spec.name}: {account.summary()}; {looks_like(file.arrays)}")
    require_finite(weights, file.path)
    _, constants = split_constants(file.arrays)
    return Loaded(file, spec, weights, constants, account)


def _guess(file: WeightFile) -> str:
    names, account = best_presets(file.arrays)
    if account is None:
        raise UserError(f"{file.path}: {looks_like(file.arrays)}; name one with --preset")
    if len(names) > 1:
        raise UserError(f"{file.path}: fits {' and '.join(names)} alike; name one with --preset")
    return names[0]
