"""Porting mistakes, one for each stage of a training step, each of which must leave the envelope of the lockstep.

They are planted around the PyTorch twin: in the spec, the learning rates or the decay that it is given.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from frameworks.config import ExperimentSpec, ParameterGroup
from frameworks.shared import schedules

SAMPLING_OFFSETS = r"cross_attn\.sampling_offsets"


@dataclass(frozen=True)
class Fault:
    """A mistake in one stage; ``late``: by how many updates the schedule lags behind."""

    stage: str
    what: str
    spec: Callable[[ExperimentSpec], ExperimentSpec] = lambda spec: spec
    late: int = 0
    average_warms_up: bool = True

    def rates(self, spec: ExperimentSpec, update: int, epoch: int, per_epoch: int) -> list[float]:
        """Learning rate of every group at an update, counted from 0."""
        return schedules.learning_rates(spec.recipe, update - self.late, epoch, per_epoch)

    def decay(self, spec: ExperimentSpec, update: int) -> float:
        """Decay of the average at an update, counted from 0."""
        recipe = spec.recipe
        return schedules.ema_decay(recipe, update + 1) if self.average_warms_up else recipe.ema_decay


def _model(part: str, **fields: Any) -> Callable[[ExperimentSpec], ExperimentSpec]:
    def change(spec: ExperimentSpec) -> ExperimentSpec:
        return replace(spec, model=replace(spec.model, **{part: replace(getattr(spec.model, part), **fields)}))

    return change


def _without_giou_cost(spec: ExperimentSpec) -> ExperimentSpec:
    criterion = spec.criterion
    return replace(spec, criterion=replace(criterion, matcher=replace(criterion.matcher, cost_giou=0.0)))


def _recipe(spec: ExperimentSpec, **fields: Any) -> ExperimentSpec:
    return replace(spec, recipe=replace(spec.recipe, **fields))


def _offsets_without_gradient(spec: ExperimentSpec) -> ExperimentSpec:
    frozen = ParameterGroup(SAMPLING_OFFSETS, lr=0.0, weight_decay=0.0)
    return _recipe(spec, groups=(frozen, *spec.recipe.groups))


NONE = Fault("", "none")
FAULTS = (
    Fault("forward", "position embedding of temperature 1,000", _model("encoder", pe_temperature=1000.0)),
    Fault("matching", "no cost of the GIoU", _without_giou_cost),
    Fault(
        "loss", "varifocal exponent 1.5", lambda spec: replace(spec, criterion=replace(spec.criterion, gamma=1.5))
    ),
    Fault("gradient", "sampling offsets without a gradient", _offsets_without_gradient),
    Fault("update", "weight decay added to the gradient", lambda s: _recipe(s, optimizer="adam")),
    Fault("EMA", "average without its warm-up", average_warms_up=False),
    Fault("schedule", "warm-up one update late, so that the first update is zero", late=1),
)
