"""Initial weights of a run from a file, and what run.json, the log and the report say of them."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from experiments.weight_files.account import Account, grouped
from experiments.weight_files.inject import Reading, read_backbone
from experiments.weight_files.official_checkpoints import OFFICIAL
from experiments.weight_files.readers import WeightFile
from experiments.weight_files.sources import load_weights, open_backbone, open_source
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec
from frameworks.errors import UserError
from frameworks.files import file_hash
from frameworks.state.initialisation import initial_weights
from frameworks.state.named_shapes import COUNTER
from frameworks.state.parameters import model_facts

Record = dict[str, Any]


def starting_state(
    spec: ExperimentSpec,
    *,
    seed: int,
    weights: str | None,
    partial: bool,
    backbone: str | None,
    without_backbone: bool = False,
) -> tuple[Arrays, Record | None]:
    """The weights that a run starts from, and their entry in run.json; None if all are drawn from ``seed``.

    Args:
        weights: see ``starting_weights``; None: the file of ``recipe.tuning``, where the spec names one, of which
            what fits is taken, as the official code does.
        partial, without_backbone: see ``starting_weights``.
        backbone: see ``starting_backbone``; not together with ``weights``.

    Raises:
        UserError: as ``starting_weights`` and ``starting_backbone``.
    """
    if backbone is not None:
        return starting_backbone(backbone, spec, seed=seed)
    if weights is None and spec.recipe.tuning:
        return starting_weights(spec.recipe.tuning, spec, seed=seed, partial=True, without_backbone=True)
    if weights is None:
        return initial_weights(spec.model, seed), None
    return starting_weights(weights, spec, seed=seed, partial=partial, without_backbone=without_backbone)


def starting_weights(
    source: str, spec: ExperimentSpec, *, seed: int, partial: bool, without_backbone: bool = False
) -> tuple[Arrays, Record]:
    """float32 weights (counters int64) for the model of ``spec``, and their entry in run.json.

    Args:
        source: a file, an address, or ``official`` or ``official-objects365``: the file published for the model.
        partial: draw from ``seed`` what the file lacks or has in another shape.
        without_backbone: with ``partial``, even if that is the whole backbone.

    Raises:
        UserError: as ``open_source`` and ``load_weights``.
    """
    file = open_source(source, spec)
    advice = "; --partial-weights takes what fits"
    loaded = load_weights(file, spec, partial=partial, without_backbone=without_backbone, advice=advice)
    record = _record(source, file, loaded.account, spec) | {"part": "model"}
    drawn = record["drawn_from_seed"]
    record["sentence"] = f"Initial weights from {record['path']}, {record['matched']} tensors" + (
        f"; {drawn} more drawn from the seed." if drawn else "."
    )
    return _over_drawn(loaded.weights, spec, seed), record


def starting_backbone(source: str, spec: ExperimentSpec, *, seed: int) -> tuple[Arrays, Record]:
    """As ``starting_weights``, but only the backbone is read; everything else is drawn from ``seed``.

    Args:
        source: a file under official, torchvision's or timm's names, or ``official``: the ImageNet backbone from
            which the official training of this model starts, which has to be whole.

    Raises:
        UserError: as ``open_backbone`` and ``read_backbone``; a tensor has another shape, so that it is another
            architecture; or the official file lacks one.
    """
    file = open_backbone(source, spec)
    reading = read_backbone(file.arrays, spec.model, path=file.path)
    account = reading.account
    if account.mismatched or (source == OFFICIAL and account.missing):
        raise UserError(
            f"{file.path}: is no backbone of {spec.name}: {account.summary()}; choose the preset of the file, or "
            "take parts of it with experiments/weights.py inject-backbone"
        )
    taken, total = len(_weights(account.matched)), len(_weights([*account.matched, *account.missing]))
    record = _record(source, file, account, spec) | {"part": "backbone", "matched": taken}
    record["remarks"] = [*_understood(reading), *record["remarks"]]
    record["sentence"] = (
        f"Backbone from {record['path']}, {taken} of {total} tensors; the rest of the model drawn from the seed."
    )
    return _over_drawn(reading.weights, spec, seed), record


def said(record: Record) -> list[str]:
    """What a run prints of its start: the sentence, remarks, and the names by group that are not as they could be.

    ``record`` is that of ``starting_weights`` or ``starting_backbone``.
    """
    named = {
        "missed": "missed: not in the file, drawn from the seed",
        "unmatched": "unmatched: of another shape, drawn from the seed",
        "unused_names": "unused: in the file only",
    }
    lines = [f"{what}: {grouped(list(record[key]))}" for key, what in named.items() if record[key]]
    return [f"weights: {record['sentence']}", *(f"  {line}" for line in [*lines, *record["remarks"]])]


def log(record: Record) -> str:
    """Everything that ``said`` summarises, name by name, as the text of a file."""
    unmatched = [f"{name} {what}" for name, what in record["unmatched"].items()]
    lists = {"missed": record["missed"], "unmatched": unmatched, "unused": record["unused_names"]}
    lines = [record["sentence"], *record["remarks"], f"{record['matched']} matched"]
    for title, names in lists.items():
        lines += [f"{len(names)} {title}", *(f"  {name}" for name in names)]
    return "\n".join(lines) + "\n"


def _record(source: str, file: WeightFile, account: Account, spec: ExperimentSpec) -> Record:
    unused = _weights(account.unused)
    matched = _weights(account.matched)
    remarks = [*account.remarks(), *_frozen_as_drawn([*account.missing, *account.mismatched], spec)]
    return {
        "source": source,
        "path": str(file.path.absolute()),
        "sha256": file_hash(file.path),
        "form": f"{file.format}, {file.form}",
        "matched": len(account.matched),
        "drawn_from_seed": len(_weights(model_facts(spec.model).shapes)) - len(matched),
        "unused": len(unused),
        "missed": account.missing,
        "unmatched": account.mismatched,
        "unused_names": unused,
        "remarks": remarks,
    }


def _understood(reading: Reading) -> list[str]:
    """Remarks on how the names of a backbone were read, and what became of folded norms."""
    remarks = [f"names of {reading.naming}" + (f": {reading.note}" if reading.note else "")]
    if reading.folded:
        remarks.append(
            f"{reading.folded} norms were folded into convolutions: restored exactly for evaluation and frozen "
            "norms, while norms in training measure each batch"
        )
    return remarks


def _frozen_as_drawn(drawn: list[str], spec: ExperimentSpec) -> list[str]:
    """A remark if a drawn tensor never learns, because the spec freezes it."""
    facts = model_facts(spec.model)
    trained = set(facts.trainable)
    frozen = [
        name for name in drawn if facts.is_frozen_norm(name) or not (facts.is_buffer(name) or name in trained)
    ]
    if not frozen:
        return []
    return [
        f"NEVER LEARNED: {grouped(frozen)} are drawn and frozen (model.backbone.freeze_at, freeze_norm): set them "
        "to -1 and false, or start from a file that has them"
    ]


def _over_drawn(read: Arrays, spec: ExperimentSpec, seed: int) -> Arrays:
    """Weights drawn from the seed, replaced by those that were read, in float32."""
    return initial_weights(spec.model, seed) | in_float32(read)


def in_float32(weights: Arrays) -> Arrays:
    """The weights as runs take them: counters stay integers."""
    return {
        name: array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array
        for name, array in weights.items()
    }


def _weights(names: Iterable[str]) -> list[str]:
    """The names without the counters of batch norms."""
    return [name for name in names if not name.endswith(COUNTER)]
