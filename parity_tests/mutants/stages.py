"""The parity tests in the order in which they are asked about a fault: cheap and likely to find it first."""

import re
from typing import NamedTuple

SMALL = ("tiny", "tiny_hgnetv2", "tiny_bottleneck")
_LARGE = "rtdetr"  # whole models of an official preset wait for the last stages


class Tests(NamedTuple):
    """Tests whose names start with ``start`` and whose parameters hold all of ``words``."""

    start: str
    words: frozenset[str] = frozenset()

    def hold(self, name: str, parameters: set[str]) -> bool:
        """Whether a test is one of them."""
        return name.startswith(self.start) and self.words <= parameters


def _small(test: str, *words: str) -> tuple[Tests, ...]:
    return tuple(Tests(test, frozenset((name, "float64", "cpu", *words))) for name in SMALL)


def _whole(*starts: str) -> tuple[Tests, ...]:
    return tuple(map(Tests, starts))


# What an earlier stage has is not repeated.
STAGES: dict[str, tuple[Tests, ...]] = {
    "training pass": _small("test_model.py::test_training"),
    "evaluation": _small("test_model.py::test_evaluation"),
    "criterion": (
        *_small("test_pieces.py::test_criterion"),
        *_whole("test_losses.py::test_criterion", "test_losses.py::test_training"),
    ),
    "denoising": _small("test_pieces.py::test_denoising"),
    "post-processing": (*_small("test_pieces.py::test_postprocess"), *_whole("test_losses.py::test_postprocess")),
    "optimizer": (*_small("test_pieces.py::test_optimizer"), *_whole("test_optimizers.py::test_optimizer")),
    "steps": _small("test_steps.py::test_steps"),
    "special cases": _whole(
        "test_no_objects.py",
        "test_early_exit.py",
        "test_deploy.py",
        "test_updates.py",
        "test_rare_steps.py",
        "test_bounds.py",
    ),
    "other backbones": _whole("test_other_backbones.py"),
    "other values": _whole("test_spec_fields.py::test_twins"),
    "contract": _whole("test_contract.py", "test_twins_alike.py", "test_known_differences.py"),
    "truth": _whole("test_losses.py", "test_optimizers.py"),
    "modules": _small("test_modules.py::test_module"),
    "other kernels": _whole("test_kernels.py"),
    "small models": _whole(
        "test_model.py",
        "test_pieces.py",
        "test_modules.py",
        "test_steps.py",
        "test_can_fail.py",
        "test_spec_fields.py",
    ),
    "oracle": _whole("test_oracle.py", "test_oracle_variants.py", "test_huggingface.py"),
    "all others": _whole(""),
}
NAMES = tuple(STAGES)

# Area of the catalogue, or first word of a fault's name -> the stage that is asked first, where that is not the
# training pass.
_FIRST = {
    "dla": "other backbones",
    "regnet": "other backbones",
    "postprocess": "post-processing",
    "optimizer": "optimizer",
    "schedules": "small models",
    "ema": "optimizer",
    "deploy": "special cases",
    "trainer": "contract",
    "restored": "contract",
    "formula": "other kernels",
}

UNIT = "unit tests"


def _unit(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/tests/test_{name}.py" for name in names)


# Areas that no parity test asks: what both twins get from outside. Unit tests are asked and counted apart.
ALONE: dict[str, tuple[str, ...]] = {
    "data": _unit(
        "experiments",
        *("images", "photometric", "categories", "voc", "coco", "augmentation", "batches", "preparation"),
        *("evaluation", "training"),
    ),
    "drawing": _unit("frameworks", "noise", "initialisation", "schedules"),
}


def stages_for(area: str, name: str, until: str) -> tuple[str, ...]:
    """The stages that are asked about a fault, by its area and name, up to ``until`` in the order above."""
    if area in ALONE:
        return (f"{UNIT}: {area}",)
    wanted = NAMES[: NAMES.index(until) + 1]
    word = re.split(r"\W", name)[0]
    first = tuple(stage for stage in wanted if stage == _FIRST.get(word, _FIRST.get(area)))
    return (*first, *(stage for stage in wanted if stage not in first))


def stage_of_test(node: str) -> str:
    """The stage of a test, by its pytest name such as ``parity_tests/test_model.py::test_training[tiny-...]``."""
    return NAMES[_place(node)[0]] if node.startswith("parity_tests/") else UNIT


def position(node: str) -> tuple[int, int]:
    """Sort key of a test: its stage, and its place within. Unit tests stay in the order of their files."""
    return _place(node) if node.startswith("parity_tests/") else (0, 0)


def _place(node: str) -> tuple[int, int]:
    name, _, rest = node.removeprefix("parity_tests/").partition("[")
    parameters = set(rest.rstrip("]").split("-"))
    large = any(parameter.startswith(_LARGE) for parameter in parameters)
    for number, (stage, parts) in enumerate(STAGES.items()):
        if not large or stage in ("oracle", "all others"):
            for place, tests in enumerate(parts):
                if tests.hold(name, parameters):
                    return number, place
    raise AssertionError(f"{node}: the last stage has all tests")


def tests_of(stage: str) -> list[str]:
    """What pytest collects for a stage: files or, for all others, the folder.

    The tests of the judge and of this folder are left out: they examine themselves.
    """
    if stage.startswith(UNIT):
        return list(ALONE[stage.removeprefix(f"{UNIT}: ")])
    files = [f"parity_tests/{tests.start.partition('::')[0]}" for tests in STAGES[stage]]
    if "parity_tests/" in files:
        return ["parity_tests", "--ignore=parity_tests/test_judge.py", "--ignore=parity_tests/test_mutants.py"]
    return list(dict.fromkeys(files))
