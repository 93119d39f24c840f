"""`--check-data`: account for every object of a data set, open every image, train nothing."""

from dataclasses import dataclass
from typing import Any

from experiments.command import require_positive
from experiments.data.account import between_lines, full_lines
from experiments.runs.classes import classes_line, with_classes
from experiments.runs.data import account_for, choose_data, require_images
from frameworks.config import load_spec
from frameworks.errors import UserError


@dataclass(frozen=True)
class CheckData:
    """What to check; without `subset` every image."""

    data: str | None = None
    subset: int | None = None
    seed: int = 0
    preset: str = "rtdetr_r18vd"


def check_of(given: dict[str, Any]) -> CheckData:
    """The check that the options `given` ask for. Raises UserError for options that only a run has."""
    others = [name for name in given if name not in CheckData.__dataclass_fields__]
    if others:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in others)
        raise UserError(f"--check-data trains nothing; leave out {names}")
    require_positive(given, "subset")
    return CheckData(**given)


def check_data(options: CheckData) -> int:
    """Print the account of the data; returns the exit status 0.

    Raises:
        UserError: data that no run can use, and a preset file with another number of classes.
    """
    spec = load_spec(options.preset)
    names = spec.data.categories
    source, data = choose_data(options.data, subset=options.subset, seed=options.seed, class_names=names)
    classes = data["train"].split.classes
    print(f"data: {source.sentence}\n{classes_line(classes)}", flush=True)
    spec = with_classes(spec, options.preset, source, classes)
    accounts = account_for(data, spec.data)
    lines = [line for each in accounts for line in full_lines(each)] + between_lines(*accounts)
    print("\n".join(lines), flush=True)
    require_images(data)
    print("every image can be read", flush=True)
    return 0
