"""Scalars for TensorBoard: losses, rates, times and COCO's numbers, beside the records, which hold more."""

import importlib
from pathlib import Path
from typing import Any

from frameworks.errors import UserError

_EXTRA = "pip install -e '.[tensorboard]'"


class Board:
    """A log that TensorBoard shows; without a writer it does nothing."""

    def __init__(self, writer: Any = None) -> None:
        self.writer = writer

    def step(self, record: dict[str, Any]) -> None:
        """Add a step's record, as steps.jsonl has it."""
        scalars = {f"loss/{name}": value for name, value in record["losses"].items()}
        scalars |= {f"lr/group_{index}": rate for index, rate in enumerate(record["lr"])}
        scalars |= {"loss/total": record["total"], "grad_norm": record["grad_norm"], "s/step": record["seconds"]}
        self._add(scalars, record["step"])

    def evaluation(self, row: dict[str, Any], step: int) -> None:
        """Add COCO's numbers and losses, as evaluation.jsonl has them, after optimizer step ``step``."""
        numbers = row["stats"] | row.get("losses", {})
        self._add({f"{row['split']}/{name}": value for name, value in numbers.items()}, step)

    def flush(self) -> None:
        """Write everything to the file."""
        if self.writer is not None:
            self.writer.flush()

    def close(self) -> None:
        """Write everything to the file and close it."""
        if self.writer is not None:
            self.writer.close()

    def _add(self, scalars: dict[str, float], step: int) -> None:
        if self.writer is not None:
            for name, value in scalars.items():
                self.writer.add_scalar(name, value, step)


def require_tensorboard() -> None:
    """Raises UserError unless the package that writes TensorBoard's files is installed."""
    _writer_class()


def open_board(folder: Path, step: int) -> Board:
    """A board in ``folder``, from optimizer step ``step`` on.

    TensorBoard drops what an interrupted run wrote beyond that step.

    Raises:
        UserError: the package that writes TensorBoard's files is not installed.
    """
    return Board(_writer_class()(str(folder), purge_step=step))


def _writer_class() -> Any:
    try:
        return importlib.import_module("tensorboardX").SummaryWriter
    except ModuleNotFoundError:
        raise UserError(f"--tensorboard needs the package tensorboardX: {_EXTRA}") from None
