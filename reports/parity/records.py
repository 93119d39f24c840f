"""Typed records of the parity tests. A comparison passes only if both its `passed` and its numbers say so."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from frameworks.errors import UserError

JUDGES = ("twin", "oracle", "huggingface", "onnx", "self", "floor", "tf32")


@dataclass(frozen=True)
class ParityRecord:
    """One tensor compared once: relative Frobenius `error` against `limit`."""

    stage: str
    module: str
    tensor: str
    preset: str
    case: str
    dtype: str
    device: str
    framework: str
    judge: str
    error: float
    limit: float
    passed: bool
    reference_error: float | None = None
    published_bound: float | None = None

    @property
    def margin(self) -> float:
        """error / limit: at most 1 passes; inf when either is not a usable number, so that it is the worst."""
        if not (math.isfinite(self.error) and math.isfinite(self.limit)) or self.error < 0 or self.limit < 0:
            return math.inf
        if self.error == 0:
            return 0.0  # a discrete result may have the limit 0, and meets it only exactly
        return self.error / self.limit if self.limit else math.inf

    @property
    def ok(self) -> bool:
        """Whether `passed` is true and the margin is at most 1; NaN never passes."""
        return self.passed and self.margin <= 1

    @property
    def exceeds_published(self) -> bool:
        """Whether a published bound exists and the error is not below it."""
        return self.published_bound is not None and not self.error < self.published_bound


@dataclass(frozen=True)
class ParityRecords:
    """A session of the judge: comparisons, skips as (test, reason), and the environments it ran in."""

    comparisons: tuple[ParityRecord, ...]
    skips: tuple[tuple[str, str], ...]
    environments: tuple[dict[str, Any], ...]
    spoilt: Mapping[str, int] = dataclasses.field(default_factory=dict)  # see parity_tests/can_fail.py

    @property
    def failures(self) -> tuple[ParityRecord, ...]:
        """The failed comparisons, worst first."""
        failed = [record for record in self.comparisons if not record.ok]
        return tuple(sorted(failed, key=lambda record: -record.margin))

    @property
    def worst(self) -> ParityRecord:
        """The comparison with the largest margin."""
        return max(self.comparisons, key=lambda record: record.margin)


def parse(raw: Iterable[Mapping[str, Any]], source: str = "parity records") -> ParityRecords:
    """Check and type raw records. Raises UserError for a broken record, and if there is no comparison."""
    comparisons: list[ParityRecord] = []
    skips: list[tuple[str, str]] = []
    environments: list[dict[str, Any]] = []
    spoilt = Counter[str]()
    for number, item in enumerate(raw, start=1):
        if "environment" in item:
            environments.append(dict(item["environment"]))
        elif "skipped" in item:
            skips.append((str(item.get("test", "unnamed")), str(item["skipped"])))
        elif "spoilt" in item:
            spoilt.update(item["spoilt"])
        else:
            comparisons.append(_record(item, f"{source}: record {number}"))
    if not comparisons:
        raise UserError(f"{source}: nothing was compared, which is not a pass; run the parity tests first")
    return ParityRecords(tuple(comparisons), tuple(skips), tuple(environments), dict(spoilt))


def _record(item: Mapping[str, Any], where: str) -> ParityRecord:
    values: dict[str, Any] = {}
    for field in fields(ParityRecord):
        optional = field.name in ("reference_error", "published_bound")
        if field.name not in item and not optional:
            raise UserError(f"{where} lacks {field.name!r}")
        value = item.get(field.name)
        try:
            values[field.name] = _typed(field.name, value, optional)
        except (TypeError, ValueError):
            raise UserError(f"{where}: {field.name} is {value!r}, which is no {field.type}") from None
    return ParityRecord(**values)


def _typed(name: str, value: Any, optional: bool) -> Any:
    if optional:
        return None if value is None else float(value)
    if name in ("error", "limit"):
        # strict JSON has no NaN, so a writer may put null: that must fail, not disappear
        return math.nan if value is None else float(value)
    if name == "passed":
        if not isinstance(value, bool):
            raise TypeError
        return value
    return str(value)


def judge_position(judge: str) -> int:
    """Sort key of a judge; unknown ones come last."""
    return JUDGES.index(judge) if judge in JUDGES else len(JUDGES)
