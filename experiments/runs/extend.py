"""More epochs for a run: what changes in its description, and what that means for its schedule."""

from dataclasses import replace

from experiments.runs.folder import Run
from frameworks.config import ExperimentSpec, RecipeSpec, spec_hash, to_dict
from frameworks.errors import UserError
from frameworks.shared.schedules import learning_rates, updates_per_epoch

_EPOCHS = "`recipe.epochs` is "


def extended(run: Run, epochs: int) -> Run:
    """The same run with `epochs` epochs in all; its description is changed, but not yet written.

    Raises:
        UserError: the run has as many epochs already.
    """
    before = run.spec.recipe.epochs
    if epochs <= before:
        raise UserError(f"--epochs {epochs}: this run has {before} epochs already; give a larger number in all")
    spec = replace(run.spec, recipe=replace(run.spec.recipe, epochs=epochs))
    meta = run.meta
    meta.spec, meta.spec_hash, meta.epochs = to_dict(spec), spec_hash(spec), epochs
    meta.deviations = _deviations(meta.deviations, before, epochs)
    return replace(run, spec=spec)


def consequence(before: ExperimentSpec, after: ExperimentSpec, *, done: int, steps_per_epoch: int) -> str:
    """One sentence for people about the learning rates, after ``done`` epochs of the schedule ``before``."""
    new, changed = after.recipe, changed_epochs(before, after, done=done, steps_per_epoch=steps_per_epoch)
    begin, end = (max(_rates(new, each, steps_per_epoch)[-1]) for each in (done, new.epochs - 1))
    epochs = f"{new.epochs} epochs instead of {before.recipe.epochs}"
    rates = f"{epochs}; learning rate from now on {begin:.2g}, at last {end:.2g}"
    if not changed:
        return f"{rates}: the same as in a run of {new.epochs} epochs from the start"
    return (
        f"{rates}: the schedule depends on the number of epochs, and a run of {new.epochs} from the start would "
        f"have had other rates from epoch {changed[0] + 1} on"
    )


def changed_epochs(before: ExperimentSpec, after: ExperimentSpec, *, done: int, steps_per_epoch: int) -> list[int]:
    """Those of the first ``done`` epochs, from 0, that have other learning rates in the schedule ``after``."""
    pairs = ([_rates(spec.recipe, epoch, steps_per_epoch) for spec in (before, after)] for epoch in range(done))
    return [epoch for epoch, (old, new) in enumerate(pairs) if old != new]


def _rates(recipe: RecipeSpec, epoch: int, steps_per_epoch: int) -> list[list[float]]:
    """Rates of the groups in the first and the last update of an epoch."""
    updates = updates_per_epoch(recipe, steps_per_epoch)
    ends = (epoch * updates, (epoch + 1) * updates - 1)
    return [learning_rates(recipe, update, epoch, updates) for update in ends]


def _deviations(lines: list[str], before: int, after: int) -> list[str]:
    """The differences from the official training, with the new number of epochs."""
    old = next((line for line in lines if line.startswith(_EPOCHS)), f"{_EPOCHS}{before} instead of {before}")
    official = old.rpartition(" ")[2]
    new = [] if official == str(after) else [f"{_EPOCHS}{after} instead of {official}"]
    at = lines.index(old) if old in lines else len(lines)
    return lines[:at] + new + lines[at + 1 :]
