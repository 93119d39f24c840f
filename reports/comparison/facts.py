"""In what runs differ: facts that decide a result, and circumstances. Columns: one value per run."""

from dataclasses import dataclass
from typing import Any

from frameworks.config.experiment import ExperimentSpec
from frameworks.config.serialization import from_dict, to_dict
from frameworks.config.validation import SpecError
from reports import formatting as show
from reports.language import say
from reports.markdown import flat
from reports.run.records import SPLITS, RunRecords
from reports.run.tables import LOCAL


@dataclass(frozen=True)
class Fact:
    """One fact of every run, as text; None where a run does not have it."""

    name: str
    values: tuple[str | None, ...]

    def differs(self, place: int) -> bool:
        """Whether run number `place` differs from the first one."""
        return self.values[place] != self.values[0]


def deciding(runs: list[RunRecords]) -> list[Fact]:
    """Facts that decide a result and are not the same in all runs: data, spec, seed, initial weights, epochs."""
    facts = {f"spec: {name}": values for name, values in _side_by_side([_spec(run) for run in runs]).items()}
    facts.pop("spec: name", None)  # a name changes no number
    facts[say("seed")] = tuple(str(run.meta.seed) for run in runs)
    for split in SPLITS:
        facts[say("images: {split}", split=split)] = tuple(_images(run, split) for run in runs)
    hashes = tuple(run.meta.initial_sha256[:16] or None for run in runs)
    if None not in hashes:  # runs from before it was recorded: spec and seed say the same
        facts[say("initial weights")] = hashes
    for name in dict.fromkeys(each.name for run in runs for each in run.frameworks):
        facts[say("{name}: trained epochs", name=show.label(name))] = tuple(_epochs(run, name) for run in runs)
    return _differing(facts)


def circumstances(runs: list[RunRecords]) -> list[Fact]:
    """Facts that should decide no result and are not the same in all runs: device, machine, versions, code."""
    facts = _side_by_side([{"device": run.meta.device, **flat(run.meta.environment)} for run in runs])
    return _differing({name: values for name, values in facts.items() if name.split(".")[-1] not in LOCAL})


def _spec(run: RunRecords) -> dict[str, str]:
    """The fields of a spec; one from before a field was added gets the field's default."""
    spec = run.meta.spec
    try:
        spec = to_dict(from_dict(ExperimentSpec, spec))
    except SpecError:
        spec = spec | {"hash": run.meta.spec_hash}  # of another version of the code: as it was recorded
    return flat(_indexed(spec))


def _indexed(value: Any) -> Any:
    """Lists of mappings as mappings from the place, so that each of their fields is a fact."""
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        value = {str(place): each for place, each in enumerate(value)}
    return {key: _indexed(each) for key, each in value.items()} if isinstance(value, dict) else value


def _images(run: RunRecords, split: str) -> str:
    # one that is not known is no one else's
    return run.manifests[split][:16] if split in run.manifests else f"unknown ({run.folder})"


def _epochs(run: RunRecords, name: str) -> str | None:
    return next((str(len(each.epochs)) for each in run.frameworks if each.name == name), None)


def _side_by_side(columns: list[dict[str, str]]) -> dict[str, tuple[str | None, ...]]:
    names = dict.fromkeys(name for column in columns for name in column)
    return {name: tuple(column.get(name) for column in columns) for name in names}


def _differing(facts: dict[str, tuple[str | None, ...]]) -> list[Fact]:
    return [Fact(name, values) for name, values in facts.items() if len(set(values)) > 1]
