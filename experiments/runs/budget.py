"""The spec that a run trains: the official settings on a GPU, a budget of minutes on a CPU.

``CPU`` holds what a CPU run changes; ``_as_implemented`` removes what no run implements yet. All frameworks train
with the same resolved spec.
"""

from dataclasses import dataclass, replace

from frameworks.config import AugmentationSpec, ExperimentSpec
from frameworks.errors import UserError

# Seconds after which a request to a worker counts as hanging. The longest takes minutes: a first step on an empty
# cache of Jittor compiles every kernel.
REQUEST_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class CpuBudget:
    """Settings that two CPU cores train in minutes.

    Measured with `run.py --subset 50` on 2 cores: 10 s an epoch in PyTorch alone on the machine; with other work
    beside it 17 s in both frameworks, and 13 min 40 s for the whole run, evaluation and report included. A cold
    Jittor cache adds about 5 minutes. PyTorch reaches AP 0.09 on its training images, enough to compare.
    From random weights the official learning rate of a pretrained backbone (1e-5) moves nothing in that time, so
    one rate serves all groups.
    """

    image_size: int = 160
    batch_size: int = 4
    epochs: int = 20
    lr: float = 2e-4
    warmup_steps: int = 10


CPU = CpuBudget()


def resolve_spec(
    official: ExperimentSpec,
    device: str,
    *,
    subset: int,
    epochs: int | None = None,
    image_size: int | None = None,
    batch_size: int | None = None,
) -> ExperimentSpec:
    """The spec that a run trains: `official` within the budget of `device`, with the given values.

    Raises:
        SpecError: a value that no spec allows.
        UserError: `subset` images cannot fill a batch.
    """
    spec = _as_implemented(official)
    if device == "cpu":
        spec = _within_cpu(spec)
    if batch_size is None:
        batch_size = min(spec.data.batch_size, subset)
    data = replace(spec.data, batch_size=batch_size)
    if image_size is not None:
        data = replace(data, image_size=(image_size, image_size))
    if batch_size > subset:
        raise UserError(f"--batch-size {batch_size} is more than --subset {subset}: no batch would be full")
    recipe = spec.recipe if epochs is None else replace(spec.recipe, epochs=epochs)
    return replace(spec, data=data, recipe=recipe)


def _as_implemented(official: ExperimentSpec) -> ExperimentSpec:
    """The part of the spec that runs implement: horizontal flips, one image size, random initial weights.

    The resolved spec is exactly what runs, so that comparing it with the official one finds every difference.
    """
    flip_alone = AugmentationSpec(
        photometric_distort=0.0,
        zoom_out=0.0,
        iou_crop=0.0,
        horizontal_flip=official.data.augmentation.horizontal_flip,
        min_box_size=0.0,
    )
    return replace(
        official,
        data=replace(official.data, augmentation=flip_alone),
        recipe=replace(official.recipe, tuning=""),
    )


def _within_cpu(official: ExperimentSpec) -> ExperimentSpec:
    """The CPU's budget; a preset that is smaller than the budget keeps its own size."""
    data, recipe = official.data, official.recipe
    height, width = (min(side, CPU.image_size) for side in data.image_size)
    groups = tuple(replace(group, lr=CPU.lr) for group in recipe.groups)
    epochs = min(recipe.epochs, CPU.epochs)
    return replace(
        official,
        data=replace(data, image_size=(height, width), batch_size=min(data.batch_size, CPU.batch_size)),
        recipe=replace(recipe, groups=groups, warmup_steps=CPU.warmup_steps, epochs=epochs),
    )
