"""The parity tests in the order in which they are asked about a fault: cheap and likely to find it first."""

SMALL = ("tiny", "tiny_hgnetv2", "tiny_bottleneck")


def _each(test: str, *ends: str) -> tuple[str, ...]:
    return tuple(f"{test}[{name}-{end}]" for end in ends or ("float64-cpu",) for name in SMALL)


# Stage -> beginnings of the names of its tests below ``parity_tests/``. What an earlier stage has is not repeated.
STAGES: dict[str, tuple[str, ...]] = {
    "training pass": _each("test_model.py::test_training"),
    "evaluation": _each("test_model.py::test_evaluation"),
    "given inputs": (
        *_each("test_pieces.py::test_criterion"),
        *_each("test_pieces.py::test_denoising"),
        *_each("test_pieces.py::test_postprocess"),
        *_each("test_pieces.py::test_optimizer", "1-float64-cpu", "5-float64-cpu"),
        *(f"test_losses.py::{test}" for test in ("test_criterion", "test_postprocess", "test_training")),
        "test_optimizers.py::test_optimizer",
    ),
    "steps": _each("test_steps.py::test_steps", "1-float64-cpu", "5-float64-cpu"),
    "special cases": ("test_no_objects.py", "test_early_exit.py", "test_deploy.py", "test_updates.py"),
    "truth": ("test_losses.py", "test_optimizers.py"),
    "modules": _each("test_modules.py::test_module"),
    "other kernels": ("test_kernels.py",),
    "small models": ("test_model.py", "test_pieces.py", "test_modules.py", "test_steps.py", "test_can_fail.py"),
    "contract": ("test_contract.py", "test_twins_alike.py", "test_known_differences.py"),
    "oracle": ("test_oracle.py", "test_oracle_variants.py", "test_huggingface.py"),
    "all others": ("",),
}
NAMES = tuple(STAGES)

# Areas that no parity test imports: unit tests are asked, and the results are counted apart.
ALONE = ("data",)
UNIT = "unit tests"
UNIT_TESTS = tuple(
    f"experiments/tests/test_{name}.py"
    for name in (
        "images",
        "photometric",
        "categories",
        "voc",
        "coco",
        "augmentation",
        "batches",
        "preparation",
        "evaluation",
        "training",
    )
)

# Whole models of an official preset wait for the last stages.
_LARGE = "rtdetr"


def stage_of_test(node: str) -> str:
    """The stage of a test, by its pytest name such as ``parity_tests/test_model.py::test_training[tiny-...]``."""
    if not node.startswith("parity_tests/"):
        return UNIT
    name = node.removeprefix("parity_tests/")
    large = f"[{_LARGE}" in name or f"-{_LARGE}" in name
    for stage, starts in STAGES.items():
        if name.startswith(starts) and (not large or stage in ("oracle", "all others")):
            return stage
    return NAMES[-1]


def position(node: str) -> tuple[int, int]:
    """Sort key of a test: its stage, and its place within."""
    stage = stage_of_test(node)
    if stage == UNIT:
        return 0, next(i for i, file in enumerate(UNIT_TESTS) if node.startswith(file))
    name, starts = node.removeprefix("parity_tests/"), STAGES[stage]
    place = next((i for i, start in enumerate(starts) if name.startswith(start)), len(starts))
    return NAMES.index(stage), place


def tests_of(stage: str) -> list[str]:
    """What pytest collects for a stage: files or, for all others, the folder.

    The tests of the judge and of this folder are left out: they examine themselves.
    """
    if stage == UNIT:
        return list(UNIT_TESTS)
    files = [f"parity_tests/{start.partition('::')[0]}" for start in STAGES[stage]]
    if "parity_tests/" in files:
        return ["parity_tests", "--ignore=parity_tests/test_judge.py", "--ignore=parity_tests/test_mutants.py"]
    return list(dict.fromkeys(files))
