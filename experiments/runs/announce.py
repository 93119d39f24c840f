"""What a run says before it trains: what is trained, what is frozen, and for how many steps."""

from experiments.runs.folder import Run
from frameworks.config import RecipeSpec
from frameworks.state.parameters import STATISTICS, ModelFacts, model_facts
from reports.formatting import count


def announce(run: Run) -> None:
    """Print the folder and one line each on what is trained, what is frozen, and how long the training is."""
    recipe, facts = run.spec.recipe, model_facts(run.spec.model)
    steps = run.steps_per_epoch
    height, width = run.spec.data.image_size
    where = f"on {run.meta.device}{f' in mixed precision ({recipe.amp_dtype})' if recipe.amp else ''}"
    print(f"run folder: {run.folder}")
    print("\n".join(parameter_lines(facts, recipe)))
    images = count(run.spec.data.batch_size, "image")
    print(
        f"{count(recipe.epochs, 'epoch')} of {count(steps, 'step')} with {images} of {height}x{width} px, "
        f"in {' and then '.join(run.entries)} {where}; how long it takes is said after some steps",
        flush=True,
    )


def parameter_lines(facts: ModelFacts, recipe: RecipeSpec) -> list[str]:
    """One line about the parameters that the optimizer updates, one about those that stay as they are, if any."""
    trained: dict[tuple[str, str], list[str]] = {}
    frozen: dict[tuple[str, str], list[str]] = {}
    for name in facts.shapes:
        part, kind = name.partition(".")[0], name.rpartition(".")[2]
        rate = recipe.groups[recipe.group_of(name)].lr if name in facts.trainable else 0.0
        if rate > 0:
            trained.setdefault((part, f" at lr {rate:g}"), []).append(name)
        elif kind not in STATISTICS:
            frozen.setdefault((part, ""), []).append(name)
    return [_line(facts, title, found) for title, found in (("trained", trained), ("frozen", frozen)) if found]


def _line(facts: ModelFacts, title: str, found: dict[tuple[str, str], list[str]]) -> str:
    parts = [f"{part} {facts.size(names):,}{rate}" for (part, rate), names in found.items()]
    return f"{title} parameters: {', '.join(parts)}"
