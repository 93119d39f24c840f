"""The settings of a run: the official ones on a GPU, ones that end within minutes on a CPU.

Everything that only a CPU run changes stands in ``CPU``, and ``_as_implemented`` takes away what no run does yet.
All frameworks train with the same resolved spec.
"""

from dataclasses import dataclass, replace

from experiments.data.categories import COCO_CATEGORY_IDS
from frameworks.config import AugmentationSpec, DataSpec, ExperimentSpec, RecipeSpec
from frameworks.errors import UserError

# Seconds that a worker may take over one request. The longest is Jittor's first step on an empty cache, where it
# compiles every kernel: minutes. An hour of silence is a worker that hangs.
REQUEST_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class CpuBudget:
    """What two CPU cores can do in minutes.

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
    """The spec that a run trains: `official`, within the budget of `device`, with what was asked for explicitly.

    Raises:
        SpecError: a value that no spec allows.
        UserError: a batch that `subset` images cannot fill, or a data set or classes that cannot be read.
    """
    if official.data.dataset != "coco":
        raise UserError(
            f"--preset {official.name} trains on the data set {official.data.dataset!r}, but only COCO's layout "
            "can be read so far; choose a preset for COCO"
        )
    if official.model.num_classes != len(COCO_CATEGORY_IDS):
        raise UserError(
            f"--preset {official.name} has num_classes {official.model.num_classes}, but COCO's labels are "
            f"{len(COCO_CATEGORY_IDS)}; leave num_classes out of the file"
        )
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
    """What `experiments.data.batches` and `experiments.runs.prepare` do: a flip, one size, random initial weights.

    The resolved spec says what runs, so that comparing it with the official one finds every departure.
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
    """Nothing grows: a preset that is smaller than the budget already keeps its own size."""
    return replace(official, data=_cpu_data(official.data), recipe=_cpu_recipe(official.recipe))


def _cpu_data(data: DataSpec) -> DataSpec:
    height, width = data.image_size
    return replace(
        data,
        image_size=(min(height, CPU.image_size), min(width, CPU.image_size)),
        batch_size=min(data.batch_size, CPU.batch_size),
    )


def _cpu_recipe(recipe: RecipeSpec) -> RecipeSpec:
    return replace(
        recipe,
        groups=tuple(replace(group, lr=CPU.lr) for group in recipe.groups),
        warmup_steps=CPU.warmup_steps,
        epochs=min(recipe.epochs, CPU.epochs),
    )
