"""A backbone from elsewhere under the names of a preset's backbone, whole or some stages of it."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from experiments.weight_files.account import Account, fit
from experiments.weight_files.folded import unfold
from frameworks.arrays import Arrays
from frameworks.config import ModelSpec, PResNetSpec
from frameworks.errors import UserError
from frameworks.hf_rtdetr.names import Rule
from frameworks.state.backbones import backbone_shapes, stem_and_stages
from frameworks.state.named_shapes import Shape

MAPS = Path(__file__).with_name("resnet_names.json")
STAGES = ("stem", "0", "1", "2", "3")
_PREFIXES = ("", "module.", "model.", "backbone.", "module.backbone.", "model.backbone.", "backbone.model.")
_PLACES = ("backbone.", "backbone.model.")  # DLA and RegNet are wrapped once more
SAME = "official names"


@dataclass(frozen=True)
class Reading:
    """How the names of a file were understood, and what came of it; ``folded`` counts restored norms."""

    naming: str
    prefix: str
    weights: Arrays
    account: Account
    folded: int


def read_backbone(
    arrays: Arrays,
    spec: ModelSpec,
    *,
    stages: tuple[str, ...] = STAGES,
    prefix: str | None = None,
    rules_file: Path | None = None,
) -> Reading:
    """The backbone in ``arrays`` under canonical names: the reading, of all known ones, in which most fits.

    Args:
        stages: which parts to take; what the file has for others counts as unused.
        prefix: stands before every name of the backbone in the file; None: found by trying.
        rules_file: a name map of the user's, {"rules": [[theirs, ours], ...]}, in the place of the known ones.

    Raises:
        UserError: nothing fits, or the map cannot be read.
    """
    shapes = _chosen_shapes(spec, stages)
    prefixes = _PREFIXES if prefix is None else (prefix,)
    readings = _readings(arrays, shapes, prefixes, _namings(spec, rules_file))
    fitting, naming, start, names = max(readings, key=lambda reading: reading[0])
    if not fitting:
        raise UserError(
            f"nothing in the file fits the backbone of this preset ({', '.join(stages)}); it has {len(arrays)} "
            f"tensors, first {next(iter(arrays))}; give the names with --map or --prefix"
        )
    named = {ours: arrays[theirs] for ours, theirs in names.items()}
    unfolded, folded = unfold(named, dict(backbone_shapes(spec.backbone)))
    weights, account = fit(unfolded, spec)
    chosen = _of_backbone(account, shapes)
    kept = {*chosen.matched, *chosen.counters}
    restored = {bias for bias, norm in folded.items() if f"{norm}.bias" in kept}
    spoken_of = {*kept, *chosen.mismatched, *restored}
    taken = {names[ours] for ours in spoken_of if ours in names}
    chosen.unused += sorted(theirs for theirs in arrays if theirs not in taken)
    return Reading(naming, start, {name: weights[name] for name in weights if name in kept}, chosen, len(restored))


def _readings(
    arrays: Arrays,
    shapes: dict[str, Shape],
    prefixes: tuple[str, ...],
    namings: Iterator[tuple[str, list[Rule]]],
) -> Iterator[tuple[int, str, str, dict[str, str]]]:
    """Every way to read the file: how many tensors fit, the naming, the prefix, our name -> the file's."""
    for naming, rules in namings:
        for start, place in itertools.product(prefixes, _PLACES):
            mine = [name for name in arrays if name.startswith(start)]
            names = {_named(name.removeprefix(start), place, rules): name for name in mine}
            fitting = sum(ours in names and arrays[names[ours]].shape == shape for ours, shape in shapes.items())
            yield fitting, naming, start, names


def _chosen_shapes(spec: ModelSpec, stages: tuple[str, ...]) -> dict[str, Shape]:
    """Entries of the chosen parts of the backbone."""
    if not stages or set(stages) - set(STAGES):
        raise UserError(f"--stages is {','.join(stages)!r}; expected some of {','.join(STAGES)}")
    stem, rest = stem_and_stages(spec.backbone)
    chosen = (stem if "stem" in stages else []) + [path for i, path in enumerate(rest) if str(i) in stages]
    starts = tuple(f"{path}." for path in chosen)
    return {name: shape for name, shape in backbone_shapes(spec.backbone) if name.startswith(starts)}


def _namings(spec: ModelSpec, rules_file: Path | None) -> Iterator[tuple[str, list[Rule]]]:
    if rules_file is not None:
        yield str(rules_file), _read_rules(rules_file)
        return
    yield SAME, []
    if isinstance(spec.backbone, PResNetSpec):
        for naming, entry in json.loads(MAPS.read_text(encoding="utf-8"))["maps"].items():
            yield naming, [Rule(theirs, (ours,)) for theirs, ours in entry["rules"]]


def _read_rules(path: Path) -> list[Rule]:
    try:
        pairs = json.loads(path.read_text(encoding="utf-8"))["rules"]
        return [Rule(str(theirs), (str(ours),)) for theirs, ours in pairs]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f'{path}: not a name map ({error}); expected {{"rules": [[theirs, ours], ...]}}') from None


def _named(bare: str, place: str, rules: list[Rule]) -> str:
    """The name in this reading; one that no rule speaks of keeps its own."""
    if not rules:
        return place + bare
    found = next((targets[0] for rule in rules if (targets := rule.apply(bare))), None)
    return bare if found is None else place + found.removeprefix(place)


def _of_backbone(account: Account, shapes: dict[str, Shape]) -> Account:
    """What was asked for; a counter goes with its norm: 0 where it came without, untouched where no norm came."""
    matched = [name for name in account.matched if name in shapes]
    norms = {name.removesuffix("running_var") for name in matched}
    return Account(
        matched=matched,
        missing=[name for name in account.missing if name in shapes],
        mismatched={name: what for name, what in account.mismatched.items() if name in shapes},
        counters=[name for name in account.counters if name.removesuffix("num_batches_tracked") in norms],
    )
