"""What a run does beside training: validation, checkpoints that are kept, and TensorBoard."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from frameworks.errors import UserError


@dataclass(frozen=True)
class Monitoring:
    """Intervals in epochs (0: never) and minutes; the defaults are what runs did before there was a choice.

    A checkpoint is written after every epoch but short ones, and within an epoch when ``checkpoint_minutes`` have
    passed since the last one; 0 minutes: after every step.
    """

    validate_every: int = 0  # AP and losses of ``validate_on``; after the last epoch there is an AP anyway
    keep_every: int = 0  # checkpoints that later ones do not replace
    checkpoint_minutes: float = 5.0
    tensorboard: bool = False
    validate_on: str = "val"  # the split of validations, whose AP also decides which checkpoint is the best

    def __post_init__(self) -> None:
        for field in ("validate_every", "keep_every", "checkpoint_minutes"):
            value = getattr(self, field)
            if not value >= 0:
                raise UserError(f"--{field.replace('_', '-')} is {value}; expected 0 or more")

    def validates_after(self, epoch: int) -> bool:
        """Whether epoch number ``epoch`` (from 0) ends with a validation."""
        return self.validate_every > 0 and (epoch + 1) % self.validate_every == 0

    def keeps(self, epoch: int) -> bool:
        """Whether the checkpoint after epoch number ``epoch`` (from 0) is kept."""
        return self.keep_every > 0 and (epoch + 1) % self.keep_every == 0

    def record(self) -> dict[str, Any]:
        """Plain values for run.json."""
        return dataclasses.asdict(self)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the fields, which are those of the options too."""
        return tuple(field.name for field in dataclasses.fields(cls))

    @classmethod
    def read(cls, record: dict[str, Any]) -> "Monitoring":
        """From run.json; runs of earlier versions recorded nothing, and keys of later ones are left aside."""
        return cls(**{name: record[name] for name in cls.names() if name in record})

    def kept_checkpoints(self, epochs: int) -> int:
        """How many checkpoints a framework has beside the last one after so many epochs."""
        return (epochs // self.keep_every if self.keep_every else 0) + (1 if self.validate_every else 0)
