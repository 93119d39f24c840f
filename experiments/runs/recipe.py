"""The spec that a run trains: what the user says, and a recipe where nothing is said.

In rising order: the preset, the recipe, the values of the user's own file, --epochs, --image-size, --batch-size
and --use-amp, -u. All frameworks train with the same resolved spec.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.runs.options import Options
from frameworks import require_precision
from frameworks.config import (
    OFFICIAL,
    RECIPES,
    AugmentationSpec,
    ExperimentSpec,
    LoadedSpec,
    SpecError,
    load_recipe,
    preset,
    to_dict,
    with_recipe,
    with_settings,
)
from frameworks.config.settings import paths
from frameworks.errors import UserError
from frameworks.state.parameters import model_facts

# On a GPU fewer images make too few updates for the official schedule to learn anything.
FEW_IMAGES = 10_000
NO_AUGMENTATION = AugmentationSpec(photometric_distort=0, zoom_out=0, iou_crop=0, horizontal_flip=0, min_box_size=0)


@dataclass(frozen=True)
class Resolved:
    """The spec of a run; a sentence that names the recipe and what it changed; the spec that it departs from."""

    spec: ExperimentSpec
    sentence: str
    official: ExperimentSpec


def resolve(options: Options, loaded: LoadedSpec) -> Resolved:
    """The spec that a run trains, and how it came about.

    Raises:
        SpecError: an unknown recipe or key, or a value that no spec allows.
        UserError: the spec cannot be trained with these images, or not by one of the frameworks.
    """
    name, why = _choice(options, loaded)
    overlay = load_recipe(name)
    try:
        laid = with_recipe(loaded.spec, overlay, loaded.said)
    except SpecError as error:
        raise SpecError(f"--recipe {name}: {error}") from None
    spec = with_settings(with_recipe(laid, _given(options), {}), options.update)
    fitted = _fitted(spec, options, loaded, name)
    require_tokens(fitted)
    _require_trained(fitted)
    require_precision(fitted.recipe, *options.frameworks)
    sentence = f"{name} ({why}): {_changes(loaded, laid, fitted, overlay)}"
    if fitted is not spec:
        sentence += f"; batch_size {options.subset}, as many as there are images"
    if kept := _kept(loaded, laid, overlay):
        sentence += f"; kept as {Path(options.preset).name} says: {kept}"
    official = preset(loaded.base) if loaded.base else loaded.spec
    scales = fitted.data.augmentation.scales
    if scales and fitted.data.image_size != official.data.image_size:
        sentence += (
            f"; but batches have sides of {min(scales)} to {max(scales)} px: for {_size(fitted.data.image_size)} "
            "alone add -u data.augmentation.scales=[]"
        )
    return Resolved(fitted, sentence, official)


def _choice(options: Options, loaded: LoadedSpec) -> tuple[str, str]:
    """The name of the recipe, and why it is this one."""
    if options.recipe is not None:
        return options.recipe, "as the command says"
    if not loaded.base:
        return OFFICIAL, f"{Path(options.preset).name} says every field"
    if options.device == "cpu":
        return "quick", "the default on a CPU"
    if options.subset is None or options.subset >= FEW_IMAGES:
        return OFFICIAL, f"the default on a GPU for {FEW_IMAGES:,} images or more"
    few = f"the default on a GPU for fewer than {FEW_IMAGES:,} images"
    drawn = options.weights is None and options.backbone is None
    return ("scratch", few) if drawn else ("finetune", f"{few} and given weights")


def _given(options: Options) -> dict[str, Any]:
    """The values of single options, as an overlay."""
    data = {"image_size": options.image_size and list(options.image_size), "batch_size": options.batch_size}
    recipe: dict[str, Any] = {"epochs": options.epochs, "amp": bool(options.use_amp) or None}
    recipe["amp_dtype"] = None if isinstance(options.use_amp, bool) else options.use_amp
    parts = {"data": data, "recipe": recipe}
    return {part: {k: v for k, v in values.items() if v is not None} for part, values in parts.items()}


def _fitted(spec: ExperimentSpec, options: Options, loaded: LoadedSpec, name: str) -> ExperimentSpec:
    """The spec with a batch that the images fill; raises UserError if the user said a larger one."""
    batch_size = spec.data.batch_size
    if options.subset is None or batch_size <= options.subset:
        return spec  # without --subset the images are not yet counted
    in_file = "batch_size" in loaded.said.get("data", {})
    in_recipe = name not in RECIPES or (name == OFFICIAL and options.recipe is not None)
    in_settings = any(setting.startswith("data.batch_size=") for setting in options.update)
    if in_file or in_recipe or in_settings or options.batch_size is not None:
        said = "--batch-size" if options.batch_size is not None else "data.batch_size"
        raise UserError(
            f"{said} {batch_size} is more than --subset {options.subset}: no batch would be full; take a smaller "
            f"batch, as in --batch-size {options.subset}"
        )
    return replace(spec, data=replace(spec.data, batch_size=options.subset))


def require_tokens(spec: ExperimentSpec) -> None:
    """Raises UserError if an image size of the training has fewer encoder tokens than the decoder has queries."""
    queries, strides = spec.model.decoder.num_queries, spec.model.backbone.out_strides
    sizes = [spec.data.image_size, *((side, side) for side in spec.data.augmentation.scales)]
    for height, width in sizes:
        tokens = sum((height // stride) * (width // stride) for stride in strides)
        if tokens < queries:
            raise UserError(
                f"an image size of {_size((height, width))} has {tokens} tokens in the encoder, but the decoder of "
                f"{spec.name} selects {queries} of them; take larger images or fewer queries"
            )


def _require_trained(spec: ExperimentSpec) -> None:
    """Raises UserError if every parameter is frozen."""
    if all(spec.recipe.is_frozen(name) for name in model_facts(spec.model).trainable):
        raise UserError("every parameter is in a group with the learning rate 0, so that nothing would be trained")


def _changes(loaded: LoadedSpec, laid: ExperimentSpec, final: ExperimentSpec, overlay: dict[Any, Any]) -> str:
    """What the recipe changed and nothing changed again."""
    before, after, end = (dict(paths(to_dict(spec))) for spec in (loaded.spec, laid, final))
    changed = [path for path in _leaves(overlay, before) if before[path] != after[path] == end[path]]
    off = final.data.augmentation == NO_AUGMENTATION
    shown = [path for path in changed if not (off and path.startswith("data.augmentation."))]
    parts = [_described(path, end[path]) for path in shown] + ["no augmentation"] * (len(shown) < len(changed))
    return ", ".join(parts) or "nothing is changed"


def _kept(loaded: LoadedSpec, laid: ExperimentSpec, overlay: dict[Any, Any]) -> str:
    """What the recipe would have changed if the user's file had not said it."""
    without = dict(paths(to_dict(with_recipe(loaded.spec, overlay, {}))))
    after = dict(paths(to_dict(laid)))
    kept = [path for path in _leaves(overlay, after) if without[path] != after[path]]
    return ", ".join(_described(path, after[path]) for path in kept)


def _leaves(overlay: dict[Any, Any], known: dict[str, Any], where: str = "") -> Iterator[str]:
    """Dotted paths of the fields that an overlay changes; ``known`` are all paths, and a list is one field."""
    for key, value in overlay.items():
        if isinstance(value, dict) and isinstance(known[f"{where}{key}"], dict):
            yield from _leaves(value, known, f"{where}{key}.")
        else:
            yield f"{where}{key}"


def _described(path: str, value: Any) -> str:
    name = path.rpartition(".")[2]
    if name == "groups":
        return _groups(value)
    if name == "image_size":
        return f"image_size {_size(value)}"
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {'empty' if value == [] else value}"


def _groups(groups: list[dict[str, Any]]) -> str:
    rates = [f"{group['lr']:g}" for group in groups]
    same = len(set(rates)) == 1
    return f"lr {rates[0]} for all parameters" if same else f"groups with lr {', '.join(rates)}"


def _size(size: Any) -> str:
    return "x".join(map(str, size))
