"""What a run says before it trains: what is trained, what is frozen, and for how many steps."""

from experiments.data.batches import batch_count
from experiments.runs.folder import Run
from frameworks.config import RecipeSpec
from frameworks.state.parameters import STATISTICS, ModelFacts, model_facts


def announce(run: Run) -> None:
    """Print the folder and one line each on what is trained, what is frozen, and how long the training is."""
    recipe, facts = run.spec.recipe, model_facts(run.spec.model)
    steps = batch_count(len(run.data["train"].ids), run.spec.data.batch_size, drop_last=True)
    height, width = run.spec.data.image_size
    print(f"run folder: {run.folder}")
    print("\n".join(parameter_lines(facts, recipe)))
    print(
        f"{recipe.epochs} epochs of {steps} steps with {run.spec.data.batch_size} images of {height}x{width} px, "
        f"in {' and then '.join(run.frameworks)} on {run.meta.device}; how long it takes is said after some steps",
        flush=True,
    )


def parameter_lines(facts: ModelFacts, recipe: RecipeSpec) -> list[str]:
    """Lines about the parameters that the optimizer updates, by group, and about those that stay as they are."""
    groups: dict[int, list[str]] = {}
    for name in facts.trainable:
        groups.setdefault(recipe.group_of(name), []).append(name)
    moving = {index: names for index, names in sorted(groups.items()) if recipe.groups[index].lr > 0}
    trained = {name for names in moving.values() for name in names}
    parameters = [name for name in facts.shapes if name.rpartition(".")[2] not in STATISTICS]
    frozen = [name for name in parameters if name not in trained]
    parts = [
        f"{facts.size(names):,} at lr {recipe.groups[index].lr:g}, decay {recipe.groups[index].weight_decay:g} "
        f"({recipe.groups[index].pattern or 'all others'})"
        for index, names in moving.items()
    ]
    lines = [f"trained: {facts.size(trained):,} numbers: {'; '.join(parts)}"]
    if frozen:
        modules = ", ".join(sorted({name.split(".")[0] for name in frozen}))
        lines.append(f"frozen: {facts.size(frozen):,} numbers in {len(frozen)} tensors of {modules}")
    return lines
