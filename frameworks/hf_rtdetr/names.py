"""Canonical state <-> the state of Hugging Face's RT-DETR and RT-DETRv2, by the rules in names.json.

NumPy only: what can be said about their models without importing transformers.
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
PATH = Path(__file__).with_name("names.json")
_PLACEHOLDERS = {"i": r"\d+", "j": r"\d+", "k": r"\d+", "part": r"[^.]+", "leaf": r"[^.]+", "rest": r".+"}


def require_transformers(python: str | None = None) -> None:
    """Raise UserError unless transformers is installed here; another interpreter, ``python``, is not checked."""
    if python is None and importlib.util.find_spec("transformers") is None:
        raise UserError(
            f"{NAME} needs the package transformers: pip install 'twin-detr[huggingface]' "
            f"(or leave {NAME} out of --frameworks)"
        )


def unsupported(spec: ModelSpec) -> str | None:
    """None, or why Hugging Face's configuration cannot say what this spec says."""
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
    """Their blocks tell from the widths, not from the stage, whether a shortcut pools or is there at all."""
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
    """Raise UserError with the reason unless Hugging Face's model can be this one and does the same work."""
    reason = unsupported(spec)
    if not reason and spec.decoder.eval_layer != spec.decoder.num_layers - 1:
        reason = "every decoder layer runs, also after the one that answers (eval_idx)"
    if reason:
        raise UserError(f"Hugging Face's RT-DETR cannot be this model: {reason}; leave hf out of --frameworks")


@dataclass(frozen=True)
class Rule:
    """One line of the map; more than one ``hf`` name: equal parts of the canonical array along axis 0.

    Without a ``canonical`` pattern, the entry is Hugging Face's alone and carries no weights of its own.
    """

    canonical: str | None
    hf: tuple[str, ...]

    def apply(self, name: str) -> tuple[str, ...] | None:
        """The names on the other side, or None where the rule does not speak of ``name``."""
        found = None if self.canonical is None else re.fullmatch(_expression(self.canonical), name)
        return None if found is None else tuple(target.format(**found.groupdict()) for target in self.hf)

    def is_theirs_alone(self, name: str) -> bool:
        """Whether the rule says that this Hugging Face name has no canonical counterpart."""
        return self.canonical is None and any(re.fullmatch(_expression(pattern), name) for pattern in self.hf)


def read_rules(path: Path = PATH) -> list[Rule]:
    """The rules of a map file."""
    pairs = json.loads(path.read_text(encoding="utf-8"))["rules"]
    return [Rule(canonical, (hf,) if isinstance(hf, str) else tuple(hf)) for canonical, hf in pairs]


def hf_names(name: str, rules: list[Rule]) -> tuple[str, ...]:
    """The Hugging Face names that hold a canonical entry.

    Raises:
        ValueError: no rule covers the name, or several do.
    """
    found = [targets for rule in rules if (targets := rule.apply(name)) is not None]
    if len(found) != 1:
        raise ValueError(f"{name}: {len(found)} rules of the name map cover it; expected exactly one")
    return found[0]


def name_table(names: list[str], rules: list[Rule]) -> dict[str, tuple[str, int]]:
    """Hugging Face name -> (canonical name, part of it).

    Raises:
        ValueError: a name is covered by no rule or by several, or two names end in the same place.
    """
    table: dict[str, tuple[str, int]] = {}
    for name in names:
        for part, target in enumerate(hf_names(name, rules)):
            if target in table:
                raise ValueError(f"{target}: both {table[target][0]} and {name} are mapped to it")
            table[target] = (name, part)
    return table


def constants(spec: ModelSpec) -> Arrays:
    """Entries of Hugging Face's state that follow from the configuration: shares 1 / points (version v2)."""
    if spec.version == "v1":
        return {}
    shares = np.concatenate([np.full(count, 1 / count) for count in spec.decoder.num_points])
    layers = range(spec.decoder.num_layers)
    return {f"model.decoder.layers.{i}.encoder_attn.n_points_scale": shares for i in layers}


def to_hf(weights: Arrays, rules: list[Rule]) -> Arrays:
    """Canonical arrays under Hugging Face's names, packed ones cut apart.

    These are the names of a file that transformers writes, except for ``constants``: a tensor that their
    model lists twice stands in it once.
    """
    state: Arrays = {}
    for name, array in weights.items():
        targets = hf_names(name, rules)
        parts = [array] if len(targets) == 1 else np.split(array, len(targets))
        state |= dict(zip(targets, parts, strict=True))
    return state


def from_hf(state: Arrays, names: list[str], rules: list[Rule]) -> Arrays:
    """The canonical entries ``names`` out of a Hugging Face state; entries that are theirs alone are left.

    Raises:
        ValueError: the state lacks an entry or has one that nothing maps to.
    """
    table = name_table(names, rules)
    given = {name for name in state if not any(rule.is_theirs_alone(name) for rule in rules)}
    if wrong := sorted(given ^ table.keys()):
        raise ValueError(f"Hugging Face's state and the name map differ in {len(wrong)} names, first {wrong[:3]}")
    weights: Arrays = {}
    for name in names:
        parts = [state[target] for target in hf_names(name, rules)]
        weights[name] = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return weights


def _expression(pattern: str) -> str:
    """A map pattern as a regular expression with a named group for every placeholder."""
    pieces = re.split(r"\{(\w+)\}", pattern)
    return "".join(
        re.escape(piece) if index % 2 == 0 else f"(?P<{piece}>{_PLACEHOLDERS[piece]})"
        for index, piece in enumerate(pieces)
    )
