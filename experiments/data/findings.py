"""What a data set contains that is left out of training, changed while reading, or looks wrong."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["dropped", "changed", "looks wrong"]


@dataclass(frozen=True)
class Finding:
    """`count` objects (or images, or classes) with the same `reason`, and the first of them as an example."""

    kind: Kind
    reason: str
    count: int
    example: str

    def __str__(self) -> str:
        return f"{self.count:,} {self.reason} (first: {self.example})"


class Tally:
    """Counts findings by kind and reason, and keeps the first example of each."""

    def __init__(self) -> None:
        self._counts: dict[tuple[Kind, str], int] = {}
        self._examples: dict[tuple[Kind, str], str] = {}

    def add(self, kind: Kind, reason: str, example: str) -> None:
        """Count one more; `reason` follows the number: "3 outside the image"."""
        self._counts[kind, reason] = self._counts.get((kind, reason), 0) + 1
        self._examples.setdefault((kind, reason), example)

    def findings(self) -> tuple[Finding, ...]:
        """The findings in the order in which each first occurred."""
        return tuple(
            Finding(kind, reason, count, self._examples[kind, reason])
            for (kind, reason), count in self._counts.items()
        )
