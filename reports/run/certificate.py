"""The certificate of a run folder: read it, and say in a sentence what it proves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from frameworks.shared.stages import flow_position, module_position, without_numbers
from reports import formatting as show
from reports.jsonl import read_lines
from reports.language import say
from reports.parity.records import ParityRecords, parse

PASSED, FAILED, LEFT_OUT = "passed", "failed", "left out"
CASE = "first batch"  # the field "case" of the records


@dataclass(frozen=True)
class Certificate:
    """``float64``: the judged comparisons, None where it was left out. ``float32``: errors without a limit."""

    outcome: str
    reason: str
    seconds: float
    images: int
    of: int  # images of a whole batch
    float64: ParityRecords | None
    float32: tuple[dict[str, Any], ...]

    @property
    def failed(self) -> bool:
        """Whether a framework differs; a record that failed counts, whatever the last line says."""
        return self.outcome == FAILED or bool(self.float64 and self.float64.failures)


def read_certificate(path: Path) -> Certificate | None:
    """Read certificate.jsonl; None where it is missing or was interrupted. Raises UserError for a broken line."""
    if not path.exists():
        return None
    lines, _ = read_lines(path)
    if not lines or "certificate" not in lines[-1]:
        return None
    end: dict[str, Any] = lines.pop()["certificate"]
    float64 = [line for line in lines if line["dtype"] == "float64"]
    return Certificate(
        outcome=str(end["outcome"]),
        reason=str(end.get("reason", "")),
        seconds=float(end["seconds"]),
        images=int(end.get("images", 0)),
        of=int(end.get("of", 0)),
        float64=parse(float64, str(path)) if float64 and end["outcome"] != LEFT_OUT else None,
        float32=tuple(line for line in lines if line["dtype"] == "float32"),
    )


def sentence(certificate: Certificate, frameworks: Sequence[str]) -> str:
    """What the certificate proves, in one or two sentences of Markdown; bold where the frameworks differ."""
    if certificate.float64 is None:
        return say("left out: {reason}.", reason=show.plain(certificate.reason))
    reference, *others = frameworks
    names, judged = show.labels(others), certificate.float64
    part = (
        say("{images} of the {of} images of ", images=certificate.images, of=certificate.of)
        if certificate.images < certificate.of
        else ""
    )
    setting = say("in float64, with this run's spec and weights, on {part}the first batch", part=part)
    if certificate.failed:
        return _failed(judged, names, show.label(reference), setting)
    worst = judged.worst
    verb = say("computes") if len(others) == 1 else say("compute")
    return say(
        "{names} {verb} the same function as {reference}: {setting}, {judged} agree; the worst error is "
        "{error} ({tensor}), its limit {limit}.",
        names=names,
        verb=verb,
        reference=show.label(reference),
        setting=setting,
        judged=_counted(judged),
        error=show.small(worst.error),
        tensor=show.code(worst.tensor),
        limit=show.small(worst.limit),
    )


def _failed(judged: ParityRecords, names: str, reference: str, setting: str) -> str:
    first = min(judged.failures, key=lambda record: flow_position(record.stage, record.module))
    return say(
        "**{names} does not compute the same function as {reference}**: {setting}, {failures:,} of "
        "{comparisons:,} tensors differ; the first is {tensor} ({where}), error {error}, limit {limit}.",
        names=names,
        reference=reference,
        setting=setting,
        failures=len(judged.failures),
        comparisons=len(judged.comparisons),
        tensor=show.code(first.tensor),
        where=f"{show.plain(first.stage)}, {show.plain(first.module)}",
        error=show.small(first.error),
        limit=show.small(first.limit),
    )


def _counted(judged: ParityRecords) -> str:
    """What was compared, by its kinds."""
    stages: dict[str, set[str]] = {}
    for record in judged.comparisons:
        stages.setdefault(record.stage, set()).add(record.tensor)
    number = {stage: len(tensors) for stage, tensors in stages.items()}
    told = {
        "forward": show.count(number.get("forward", 0), "prediction"),
        "losses": show.count(number.get("losses", 0), "loss term"),
        "backward": show.count(number.get("backward", 0), "gradient"),
        "update": show.count(number.get("update", 0), "updated tensor"),
    }
    parts = [text for stage, text in told.items() if stage in stages]
    return say("{parts} and the matching", parts=say(", ").join(parts))


def float32_sentence(certificate: Certificate) -> str:
    """How far each framework is from the float64 result in its own float32; empty where that was not measured."""
    told = []
    for name in dict.fromkeys(line["framework"] for line in certificate.float32):
        own = [line for line in certificate.float32 if line["framework"] == name]
        losses = max((_error(line) for line in own if line["stage"] == "losses"), default=math.nan)
        gradients = [line for line in own if line["stage"] == "backward"]
        worst = max(gradients, key=_error, default=None)
        middle = median(map(_error, gradients)) if gradients else math.nan
        module = show.plain(family(worst["module"])) if worst else ""
        where = (
            say(" and at most {worst} ({module})", worst=show.percent(_error(worst)), module=module)
            if worst
            else ""
        )
        told.append(
            say(
                "{name}'s losses are {losses} off, its gradients {middle} in the median{where}",
                name=show.label(name),
                losses=show.small(losses),
                middle=show.percent(middle),
                where=where,
            )
        )
    return (
        say("In float32, in which they train, on the same images: {told}.", told=say("; ").join(told))
        if told
        else ""
    )


def float32_families(certificate: Certificate) -> list[dict[str, str]]:
    """Rows of a table: the worst gradient of every family of modules in each framework."""
    worst: dict[str, dict[str, float]] = {}
    for line in certificate.float32:
        if line["stage"] == "backward":
            errors = worst.setdefault(family(line["module"]), {})
            errors[line["framework"]] = max(errors.get(line["framework"], 0.0), _error(line))
    frameworks = dict.fromkeys(line["framework"] for line in certificate.float32)
    rows = []
    for name in sorted(worst, key=module_position):
        errors = {show.label(each): show.percent(worst[name].get(each)) for each in frameworks}
        rows.append({say("modules"): show.code(name)} | errors)
    return rows


def family(module: str) -> str:
    """A module's path without its numbers, and no deeper than a part of a decoder layer."""
    parts = without_numbers(module).split(".")
    return ".".join(parts[:2] if parts[0] == "backbone" else parts)


def _error(line: dict[str, Any]) -> float:
    value = line["error"]
    return math.nan if value is None else float(value)
