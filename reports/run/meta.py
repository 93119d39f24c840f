"""The run metadata, run.json: written by the runner, read by the reports and by a resumed run."""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from frameworks.errors import UserError
from reports.jsonl import read_object
from reports.run import files

SCHEMA = 1
COCO_STATS = (
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large"),
)
_NEEDED = ("preset", "spec_hash", "seed", "device", "epochs", "batch_size", "image_size", "frameworks", "data")


@dataclass(frozen=True)
class Failure:
    """Content of failure.json: why a framework could not finish, and the end of what it wrote to stderr.

    `kind` is "crash", "timeout" or "exception" of a worker, "diverged" (not a finite loss) or "unavailable".
    """

    kind: str
    message: str
    stderr_tail: str = ""


@dataclass(kw_only=True)
class DataMeta:
    """The images of a run; counts are None where a file does not state them.

    `account` tells, for each split, how many objects are trained on and what became of the others; runs from before
    it have none.
    """

    kind: str = ""
    sentence: str = ""
    root: str = ""
    train_images: int | None = None
    val_images: int | None = None
    account: dict[str, Any] | None = None
    others: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class ParameterCounts:
    """Number of values of the model, without and with the running statistics of its norms."""

    trainable_and_frozen: int | None = None
    with_running_statistics: int | None = None
    others: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class RunMeta:
    """Content of run.json, in its order. `others` of each part keeps the keys that this version does not know."""

    schema: int = SCHEMA
    command: str = ""
    created: str = ""
    preset: str
    spec: dict[str, Any] = field(default_factory=dict)
    spec_hash: str
    seed: int
    device: str
    image_size: int | list[int]  # a side, or [height, width]
    epochs: int
    batch_size: int
    frameworks: list[str]
    pythons: dict[str, str] = field(default_factory=dict)
    in_process: bool = False
    data: DataMeta
    parameters: ParameterCounts = field(default_factory=ParameterCounts)
    environment: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Any] | None = None
    deviations: list[str] = field(default_factory=list)
    resumed: list[dict[str, Any]] = field(default_factory=list)
    monitoring: dict[str, Any] = field(default_factory=dict)  # empty in runs from before there was a choice
    initial_sha256: str = ""
    controls: int = 0  # trainings of the first framework from weights moved by one unit in the last place
    recipe: str = ""  # its name, why, and what it changed; runs from before there were recipes have none
    others: dict[str, Any] = field(default_factory=dict)

    @property
    def control_names(self) -> list[str]:
        """Names of the controls, which are those of their folders."""
        return [files.control(number) for number in range(1, self.controls + 1)]

    @property
    def kernels(self) -> str:
        """The choice of ``frameworks.shared.kernels``; runs from before there was one used the formulas."""
        return self.environment.get("kernels", "reference")

    @property
    def pixels(self) -> str:
        """The image size for people: one side, or height x width."""
        sides = [self.image_size] if isinstance(self.image_size, int) else self.image_size
        return f"{'x'.join(map(str, sides))} px"

    @classmethod
    def read(cls, path: Path) -> "RunMeta":
        """Read run.json. Raises UserError if it is missing, is no JSON object, or lacks what every report needs."""
        if not path.exists():
            raise UserError(f"{path}: missing, so {path.parent} is no run folder of experiments/run.py")
        values = read_object(path)
        if values.get("schema") != SCHEMA:
            raise UserError(f"{path}: schema is {values.get('schema')!r}, expected schema {SCHEMA}")
        if missing := [key for key in _NEEDED if key not in values]:
            raise UserError(f"{path}: lacks {', '.join(missing)}")
        if not values["frameworks"]:
            raise UserError(f"{path}: frameworks is empty, so the run has nothing to report")
        if strange := [name for name in values["frameworks"] if not re.fullmatch(r"\w+", str(name))]:
            raise UserError(f"{path}: frameworks has {strange[0]!r}, which is no name of a framework's folder")
        parts = {"data": DataMeta, "parameters": ParameterCounts}
        return _build(cls, values | {key: _build(part, values.get(key, {})) for key, part in parts.items()})

    def to_json(self) -> str:
        """Text of run.json; unknown keys come last."""
        values = asdict(self)
        if not self.recipe:  # so that an old run stays as it was
            del values["recipe"]
        if not self.controls:
            del values["controls"]
        if self.data.account is None:
            del values["data"]["account"]
        if not self.monitoring:
            del values["monitoring"]  # a run of an earlier version stays as it was
        for part in (values, values["data"], values["parameters"]):
            part |= part.pop("others")
        return json.dumps(values, indent=1) + "\n"


def _build(part: Any, values: dict[str, Any]) -> Any:
    known = {key: value for key, value in values.items() if key in part.__dataclass_fields__ and key != "others"}
    return part(**known, others={key: value for key, value in values.items() if key not in known})
