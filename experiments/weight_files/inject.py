"""Read a backbone from another file under the names of a preset's backbone, whole or some stages of it."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from experiments.weight_files.account import Account, fit, require_finite
from experiments.weight_files.folded import unfold
from experiments.weight_files.names import outer_prefix
from experiments.weight_files.payload import without_wrappers
from frameworks.arrays import Arrays
from frameworks.config import ModelSpec
from frameworks.errors import UserError, said
from frameworks.hf_rtdetr.names import Rule
from frameworks.state.backbones import backbone_shapes, stem_and_stages
from frameworks.state.named_shapes import Shape

MAPS = Path(__file__).with_name("backbone_names.json")
STAGES = ("stem", "0", "1", "2", "3")
_ROOTS = ("", "module.", "model.", "backbone.", "module.backbone.", "model.backbone.", "backbone.model.", "regnet.")
_PLACES = ("backbone.", "backbone.model.")  # DLA and RegNet have one more level
SAME = "official names"


@dataclass(frozen=True)
class Reading:
    """Backbone weights under canonical names, and how the names in the file were understood.

    ``naming`` is the name map, ``note`` what it says of architectures that differ, and ``prefix`` what stands
    before every name; ``folded`` counts restored norms.
    """

    naming: str
    prefix: str
    weights: Arrays
    account: Account
    folded: int
    note: str


class _NameMap(NamedTuple):
    """Names of one origin -> ours; without rules, our own names. ``note`` tells what differs there."""

    name: str
    rules: list[Rule]
    note: str = ""


class _Attempt(NamedTuple):
    """One way to read the names of a file, and the number of tensors that fit."""

    fitting: int
    map: _NameMap
    prefix: str
    names: dict[str, str]  # canonical name -> name in the file


def read_backbone(
    arrays: Arrays,
    spec: ModelSpec,
    *,
    stages: tuple[str, ...] = STAGES,
    path: object = "the file",
    prefix: str | None = None,
    rules_file: Path | None = None,
) -> Reading:
    """Find the backbone of ``spec`` in ``arrays``: try every known name map and prefix, and keep the best fit.

    Args:
        path: of the file, for messages.
        stages: the parts to take; tensors of other parts count as unused.
        prefix: what stands before every name of the backbone in the file; None: try the usual ones.
        rules_file: a name map, {"rules": [[name in the file, canonical name], ...]}, to use instead of the known.

    Raises:
        UserError: nothing fits, a weight is NaN or infinite, or the name map cannot be read.
    """
    shapes = _chosen_shapes(spec, stages)
    prefixes = _prefixes(arrays) if prefix is None else (without_wrappers(prefix),)
    best = max(_attempts(arrays, shapes, prefixes, _name_maps(spec, rules_file)), key=lambda each: each.fitting)
    if not best.fitting:
        raise UserError(
            f"{path}: nothing in it fits the backbone of this preset ({', '.join(stages)}); it has {len(arrays)} "
            f"tensors, first {next(iter(arrays))}; name them with inject-backbone --map or --prefix"
        )
    named = {canonical: arrays[name] for canonical, name in best.names.items()}
    unfolded, folded = unfold(named, dict(backbone_shapes(spec.backbone)))
    weights, account = fit(unfolded, spec)
    chosen = _of_backbone(account, shapes)
    kept = {*chosen.matched, *chosen.counters}
    restored = {bias for bias, norm in folded.items() if f"{norm}.bias" in kept}
    chosen.unused += sorted(arrays.keys() - {best.names.get(n) for n in (*kept, *chosen.mismatched, *restored)})
    weights = {name: array for name, array in weights.items() if name in kept}
    require_finite(weights, path)
    return Reading(best.map.name, best.prefix, weights, chosen, len(restored), best.map.note)


def _prefixes(arrays: Arrays) -> tuple[str, ...]:
    """What may stand before every name of the backbone."""
    outer = outer_prefix(arrays)
    return _ROOTS if outer in _ROOTS else (*_ROOTS, *(outer + root for root in _ROOTS))


def _attempts(
    arrays: Arrays, shapes: dict[str, Shape], prefixes: tuple[str, ...], maps: Iterator[_NameMap]
) -> Iterator[_Attempt]:
    for names_there in maps:
        for prefix, place in itertools.product(prefixes, _PLACES):
            inside = [name for name in arrays if name.startswith(prefix)]
            names = {_canonical(name.removeprefix(prefix), place, names_there.rules): name for name in inside}
            fitting = sum(name in names and arrays[names[name]].shape == shape for name, shape in shapes.items())
            yield _Attempt(fitting, names_there, prefix, names)


def _chosen_shapes(spec: ModelSpec, stages: tuple[str, ...]) -> dict[str, Shape]:
    """Names and shapes of the chosen parts of the backbone."""
    if not stages or set(stages) - set(STAGES):
        raise UserError(f"--stages is {','.join(stages)!r}; expected some of {','.join(STAGES)}")
    stem, rest = stem_and_stages(spec.backbone)
    chosen = (stem if "stem" in stages else []) + [path for i, path in enumerate(rest) if str(i) in stages]
    starts = tuple(f"{path}." for path in chosen)
    return {name: shape for name, shape in backbone_shapes(spec.backbone) if name.startswith(starts)}


def _name_maps(spec: ModelSpec, rules_file: Path | None) -> Iterator[_NameMap]:
    """The name maps to try."""
    if rules_file is not None:
        yield _NameMap(str(rules_file), _read_rules(rules_file))
        return
    yield _NameMap(SAME, [])
    for naming, entry in json.loads(MAPS.read_text(encoding="utf-8"))["maps"].items():
        if entry["kind"] == spec.backbone.kind:
            yield _NameMap(naming, _rules(entry["rules"]), entry["note"])


def _read_rules(path: Path) -> list[Rule]:
    try:
        return _rules(json.loads(path.read_text(encoding="utf-8"))["rules"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        expected = '{"rules": [[name in the file, canonical name], ...]}'
        raise UserError(f"{path}: not a name map ({said(error)}); expected {expected}") from None


def _rules(pairs: list[list[str]]) -> list[Rule]:
    return [Rule(str(name), (str(canonical),)) for name, canonical in pairs]


def _canonical(name: str, place: str, rules: list[Rule]) -> str:
    """The canonical name for a name without its prefix; without a matching rule, the name itself."""
    if not rules:
        return place + name
    found = next((targets[0] for rule in rules if (targets := rule.apply(name))), None)
    return name if found is None else place + found.removeprefix(place)


def _of_backbone(account: Account, shapes: dict[str, Shape]) -> Account:
    """The part of an account for ``shapes``; a batch norm's counter is in it if the norm is."""
    matched = [name for name in account.matched if name in shapes]
    norms = {name.removesuffix("running_var") for name in matched}
    return Account(
        matched=matched,
        missing=[name for name in account.missing if name in shapes],
        mismatched={name: what for name, what in account.mismatched.items() if name in shapes},
        counters=[name for name in account.counters if name.removesuffix("num_batches_tracked") in norms],
    )
