"""The whole experiment in one value."""

from dataclasses import dataclass

from frameworks.config.model import ModelSpec
from frameworks.config.training import CriterionSpec, DataSpec, RecipeSpec
from frameworks.config.validation import SpecError, require


@dataclass(frozen=True)
class ExperimentSpec:
    """Model, losses, optimizer recipe and data under one name: everything that decides a result."""

    name: str
    model: ModelSpec
    criterion: CriterionSpec
    recipe: RecipeSpec
    data: DataSpec

    def __post_init__(self) -> None:
        criterion, version = self.criterion, self.model.version
        if version == "v1":
            why = "; RT-DETR (v1) has no such option, RT-DETRv2 has"
            require(criterion.boxes_weight_format == "none", criterion, "boxes_weight_format", f"'none'{why}")
            require(not criterion.share_matched_indices, criterion, "share_matched_indices", f"False{why}")
        elif missing := {"labels", "bce"} & set(criterion.losses):
            lacking = " and ".join(sorted(missing))
            raise SpecError(
                f"CriterionSpec.losses has {lacking}; RT-DETRv2 has focal, vfl and boxes, RT-DETR (v1) all"
            )
        if not criterion.matcher.use_focal_loss:
            expected = "at least 2 with softmax scores (use_focal_loss false), the last one being the background"
            require(self.model.num_classes >= 2, self.model, "num_classes", expected)

    @property
    def object_classes(self) -> int:
        """How many classes objects may have: the model's, without the background that softmax scores need."""
        return self.model.num_classes - (0 if self.criterion.matcher.use_focal_loss else 1)
