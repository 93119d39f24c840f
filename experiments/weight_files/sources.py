"""Load the weights of a model from a file, or from the file that is published for it."""

from dataclasses import dataclass

from experiments.weight_files.account import Account, best_presets, fit, looks_like, require_finite
from experiments.weight_files.computed_entries import split_constants
from experiments.weight_files.official_checkpoints import (
    IMAGENET,
    OBJECTS365,
    OFFICIAL,
    Published,
    fetch_published,
    published,
)
from experiments.weight_files.readers import WeightFile, read_weights
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec, preset
from frameworks.errors import UserError
from frameworks.files import user_path


@dataclass(frozen=True)
class Loaded:
    """Weights that fit ``spec``. ``constants`` are the computed entries of the file (see ``computed_entries``)."""

    file: WeightFile
    spec: ExperimentSpec
    weights: Arrays
    constants: Arrays
    account: Account


def open_source(source: str, spec: ExperimentSpec | None, *, trust: bool = False, ema: bool = True) -> WeightFile:
    """Read a file, one at an address (http...), or the checkpoint published for the model.

    Args:
        source: a path, an address, or ``official`` or ``official-objects365``.
        spec: the model; needed for these two words.

    Raises:
        UserError: as ``read_weights``, ``published`` and ``fetch_published``; or such a word without a spec.
    """
    if source.startswith(("http://", "https://")):
        return read_weights(fetch_published(Published.at(source)), trust=trust, ema=ema)
    if source not in (OFFICIAL, OBJECTS365):
        return read_weights(user_path(source), trust=trust, ema=ema)
    if spec is None:
        raise UserError(f"{source} needs --preset: every preset has a checkpoint of its own")
    return read_weights(fetch_published(published(spec, source)), trust=trust, ema=ema)


def open_backbone(source: str, spec: ExperimentSpec, *, trust: bool = False, ema: bool = True) -> WeightFile:
    """As ``open_source``, but ``official`` is the ImageNet backbone from which the official training starts."""
    if source != OFFICIAL:
        return open_source(source, spec, trust=trust, ema=ema)
    return read_weights(fetch_published(published(spec, IMAGENET)), trust=trust, ema=ema)


def load_weights(
    file: WeightFile,
    spec: ExperimentSpec | None,
    *,
    partial: bool = False,
    without_backbone: bool = False,
    advice: str = "",
) -> Loaded:
    """Fit the arrays of a file to a model.

    Args:
        spec: None: the preset that the file fits.
        partial: accept a file that fits in part; the result then has only what fits.
        without_backbone: with ``partial``, accept a file of which nothing fits the backbone.
        advice: end of the error message for a file that does not fit.

    Raises:
        UserError: the file does not fit exactly (``partial``: not at all, or not the backbone), fits several
            presets, or has NaN or infinite numbers.
    """
    spec = spec or preset(_guess(file))
    weights, account = fit(file.arrays, spec.model)
    if not account.complete and not partial:
        raise UserError(
            f"{file.path}: does not fit {spec.name}: {account.summary()}; {looks_like(file.arrays)}{advice}"
        )
    if not account.complete:  # leave out the counters of norms that the file does not have
        weights = {name: weights[name] for name in account.matched}
    if not weights:
        raise UserError(f"{file.path}: nothing fits {spec.name}: {account.summary()}; {looks_like(file.arrays)}")
    if "backbone" in account.absent_parts() and not without_backbone:
        raise UserError(
            f"{file.path}: NOTHING of the backbone fits {spec.name}: {account.summary()}; "
            "say --without-backbone if that is what you want"
        )
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
