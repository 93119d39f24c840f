"""The whole experiment in one value."""

from dataclasses import dataclass

from frameworks.config.model import ModelSpec
from frameworks.config.training import CriterionSpec, DataSpec, RecipeSpec


@dataclass(frozen=True)
class ExperimentSpec:
    """Model, losses, optimizer recipe and data under one name: everything that decides a result."""

    name: str
    model: ModelSpec
    criterion: CriterionSpec
    recipe: RecipeSpec
    data: DataSpec
