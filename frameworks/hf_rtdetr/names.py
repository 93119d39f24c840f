"""Convert between the canonical state and that of Hugging Face's RT-DETR and RT-DETRv2, by the rules in names.json.

NumPy only, so that weights can be converted without transformers.
"""

import importlib.util
import json
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from frameworks.arrays import Arrays
from frameworks.config import HGNetv2Spec, ModelSpec, PResNetSpec
from frameworks.errors import UserError

NAME = "hf"  # of the framework, in frameworks.JUDGES and on command lines
_PLACEHOLDERS = {"i": r"\d+", "j": r"\d+", "k": r"\d+", "part": r"[^.]+", "leaf": r"[^.]+", "rest": r".+"}


def require_transformers(python: str | None = None) -> None:
    """Raise UserError unless transformers is installed here; another interpreter, ``python``, is not checked."""
    if python is None and importlib.util.find_spec("transformers") is None:
        raise UserError(
            f"{NAME} needs the package transformers: pip install 'twin-detr[huggingface]' "
            f"(or leave {NAME} out of --frameworks)"
        )


def unsupported(spec: ModelSpec) -> str | None:
    """Why Hugging Face's configuration cannot represent this model; None if it can."""
    backbone, points = spec.backbone, spec.decoder.num_points
    if isinstance(backbone, PResNetSpec):
        wrong = _unsupported_presnet(backbone)
    else:
        what = f"no {backbone.kind} with the official names and weights"
        wrong = {what: not isinstance(backbone, HGNetv2Spec)}
    wrong |= {
        "a fusion block always has 3 RepVGG blocks (depth_mult 1)": spec.encoder.num_rep_blocks != 3,
        f"num_points {points} are not equal": len(set(points)) != 1,
        "the anchors' margin is always 0.01 (eps)": spec.decoder.eps != 0.01,
    }
    return next((reason for reason, is_wrong in wrong.items() if is_wrong), None)


def _unsupported_presnet(spec: PResNetSpec) -> dict[str, bool]:
    """Hugging Face's blocks decide from the widths, not from the stage, whether a shortcut pools or exists."""
    width = spec.stem_channels[-1]
    widths = [width, *(channels * spec.expansion for channels in spec.stage_channels)]
    grows = [a != b for a, b in pairwise(widths)]
    return {
        f"stem_channels {spec.stem_channels} are not (w/2, w/2, w)": (
            spec.stem_channels != (width // 2, width // 2, width)
        ),
        f"stage_channels {spec.stage_channels}: the first stage of basic blocks keeps the stem's width, "
        "all other stages change the width": grows != [spec.block == "bottleneck", True, True, True],
    }


def require_supported(spec: ModelSpec) -> None:
    """Raise UserError, with the reason, unless Hugging Face's model can represent this one and does equal work."""
    reason = unsupported(spec)
    if not reason and spec.decoder.eval_layer != spec.decoder.num_layers - 1:
        reason = "every decoder layer runs, also those after the one whose predictions are used (eval_idx)"
    if reason:
        raise UserError(
            f"Hugging Face's RT-DETR cannot represent this model: {reason}; leave {NAME} out of --frameworks"
        )


@dataclass(frozen=True)
class Rule:
    """One line of the map: a pattern of canonical names and the Hugging Face names that hold such an entry.

    Several names hold equal parts of the canonical array along axis 0. ``canonical`` is None for an entry that only
    Hugging Face has: a copy of another one, or a constant.
    """

    canonical: str | None
    huggingface: tuple[str, ...]

    def apply(self, name: str) -> tuple[str, ...] | None:
        """The Hugging Face names for a canonical name; None if the rule does not match it."""
        found = None if self.canonical is None else re.fullmatch(_expression(self.canonical), name)
        return None if found is None else tuple(target.format(**found.groupdict()) for target in self.huggingface)

    def has_no_canonical(self, name: str) -> bool:
        """Whether the rule states that this Hugging Face name has no canonical counterpart."""
        patterns = self.huggingface if self.canonical is None else ()
        return any(re.fullmatch(_expression(pattern), name) for pattern in patterns)


def _expression(pattern: str) -> str:
    """A map pattern as a regular expression with a named group for every placeholder."""
    pieces = re.split(r"\{(\w+)\}", pattern)
    return "".join(
        re.escape(piece) if index % 2 == 0 else f"(?P<{piece}>{_PLACEHOLDERS[piece]})"
        for index, piece in enumerate(pieces)
    )


def _read_rules() -> list[Rule]:
    pairs = json.loads(Path(__file__).with_name("names.json").read_text(encoding="utf-8"))["rules"]
    return [Rule(canonical, (names,) if isinstance(names, str) else tuple(names)) for canonical, names in pairs]


RULES = _read_rules()


def huggingface_names(name: str, rules: list[Rule] = RULES) -> tuple[str, ...]:
    """The Hugging Face names that hold a canonical entry.

    Raises:
        ValueError: no rule matches the name, or several do.
    """
    found = [targets for rule in rules if (targets := rule.apply(name)) is not None]
    if len(found) != 1:
        raise ValueError(f"{name}: {len(found)} rules of the name map match it; expected exactly one")
    return found[0]


def name_table(names: list[str], rules: list[Rule] = RULES) -> dict[str, tuple[str, int]]:
    """Hugging Face name -> (canonical name, index of the part of it).

    Raises:
        ValueError: no rule or several match a name, or two names are mapped to the same place.
    """
    table: dict[str, tuple[str, int]] = {}
    for name in names:
        for part, target in enumerate(huggingface_names(name, rules)):
            if target in table:
                raise ValueError(f"{target}: both {table[target][0]} and {name} are mapped to it")
            table[target] = (name, part)
    return table


def constants(spec: ModelSpec) -> Arrays:
    """Entries of Hugging Face's state that follow from the configuration: 1 / points for each of P sampling points.

    They are float64, [P] for each decoder layer of version v2; version v1 has none.
    """
    if spec.version == "v1":
        return {}
    shares = np.concatenate([np.full(count, 1 / count) for count in spec.decoder.num_points])
    layers = range(spec.decoder.num_layers)
    return {f"model.decoder.layers.{i}.encoder_attn.n_points_scale": shares for i in layers}


def to_huggingface(weights: Arrays, rules: list[Rule] = RULES) -> Arrays:
    """Rename canonical arrays to Hugging Face's names and cut packed ones into parts.

    The result has the names of a file that transformers writes, except for ``constants``. A tensor that the model
    lists under two names is in it once.

    Raises:
        ValueError: as ``huggingface_names``.
    """
    state: Arrays = {}
    for name, array in weights.items():
        targets = huggingface_names(name, rules)
        parts = [array] if len(targets) == 1 else np.split(array, len(targets))
        state |= dict(zip(targets, parts, strict=True))
    return state


def from_huggingface(state: Arrays, names: list[str], rules: list[Rule] = RULES) -> Arrays:
    """Collect the canonical entries ``names`` from a Hugging Face state; entries that only it has are left out.

    Raises:
        ValueError: the state lacks an entry or has one that nothing is mapped to.
    """
    table = name_table(names, rules)
    given = {name for name in state if not any(rule.has_no_canonical(name) for rule in rules)}
    if wrong := sorted(given ^ table.keys()):
        raise ValueError(f"Hugging Face's state and the name map differ in {len(wrong)} names, first {wrong[:3]}")
    weights: Arrays = {}
    for name in names:
        parts = [state[target] for target in huggingface_names(name, rules)]
        weights[name] = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return weights
