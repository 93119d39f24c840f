"""The examples of docs/extending/diagnose.md: clean pairs are the same, planted bugs are found by name."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from experiments.diagnosis.diagnosis import Record, diagnose, one_limit
from experiments.diagnosis.names import read_names
from experiments.diagnosis.sides import OwnSide
from experiments.diagnosis.start import OWN_LIMIT
from frameworks.workers.client import REPOSITORY, Worker

EXAMPLES = REPOSITORY / "experiments/diagnosis/examples"
ADAPTERS = {  # example -> left and right
    "cnn": ("adapter_torch.py:CNN", "adapter_jittor.py:CNN"),
    "transformer": ("adapter_torch.py:TRANSFORMER", "adapter_jittor.py:TRANSFORMER"),
    "refactoring": ("adapters.py:BEFORE", "adapters.py:AFTER"),
}


@dataclass(frozen=True)
class Bug:
    """A mistake in the right's model, as a text to replace, and what the diagnosis must say."""

    name: str
    example: str
    file: str
    find: str
    replace: str
    culprit: tuple[str, str]  # module and place
    lost: tuple[str, ...] = ()  # parameters without a gradient on the right alone


BUGS = [
    Bug("epsilon of the norm", "cnn", "cnn_jittor.py", "var + 1e-5", "var + 1e-3", ("stem.norm", "forward")),
    Bug(
        "stop_grad in place of detach",
        "cnn",
        "cnn_jittor.py",
        "x.detach()",
        "x.stop_grad()",
        ("gate", "backward"),
        tuple(f"{module}.{part}.weight" for module in ("stem", "block") for part in ("conv", "norm")),
    ),
    Bug(
        "biased running variance",
        "cnn",
        "cnn_jittor.py",
        " * (count / (count - 1))",
        "",
        ("stem.norm", "norm statistics"),
    ),
    Bug(
        "scaled by the whole width",
        "transformer",
        "transformer_jittor.py",
        "math.sqrt(d // self.heads)",
        "math.sqrt(d)",
        ("layers.0.attention.out", "inputs"),
    ),
    Bug(
        "stop_grad of the scores",
        "transformer",
        "transformer_jittor.py",
        "scores_BHSS.detach()",
        "scores_BHSS.stop_grad()",
        ("layers.1.attention", "backward"),
        tuple(f"layers.{i}.attention.{part}.weight" for i in range(2) for part in ("query", "key")),
    ),
    Bug(
        "frozen positions",
        "transformer",
        "transformer_jittor.py",
        "jt.randn((length, dim)) * 0.1",
        "(jt.randn((length, dim)) * 0.1).stop_grad()",
        ("positions", "backward"),
        ("positions.table",),
    ),
    Bug(
        "tanh for sigmoid",
        "refactoring",
        "after.py",
        "torch.sigmoid(gate)",
        "torch.tanh(gate)",
        ("first.out", "inputs"),
    ),
    Bug(
        "detach left from debugging",
        "refactoring",
        "after.py",
        "self.w2(y))",
        "self.w2(y).detach())",
        ("second", "backward"),
        ("first.value.weight", "second.value.weight"),
    ),
    Bug(
        "momentum of another library",
        "refactoring",
        "after.py",
        "momentum: float = 0.1",
        "momentum: float = 0.9",
        ("first.norm", "norm statistics"),
    ),
]


@pytest.fixture(scope="module")
def lefts() -> Iterator[dict[str, OwnSide]]:
    """The left of every example in a worker."""
    with ExitStack() as stack:
        sides = {}
        for example, (left, _) in ADAPTERS.items():
            worker = opened(stack, EXAMPLES / example / left)
            weights, inputs = (worker.request(f"own.{what}")[1] for what in ("weights", "inputs"))
            sides[example] = OwnSide(worker, weights, inputs, True, {})
        yield sides


def opened(stack: ExitStack, adapter: Path) -> Worker:
    worker = Worker(adapter.parent.name, str(adapter), "cpu", sys.executable, None, None)
    stack.callback(worker.close)
    return worker


def diagnosed(left: OwnSide, folder: Path, adapter: str) -> Record:
    """The diagnosis of an example's right in ``folder``."""
    with ExitStack() as stack:
        worker = opened(stack, folder / adapter)
        right = OwnSide(worker, left.weights, left.inputs, True, read_names(folder / "names.toml"))
        return diagnose(left, right, "float64", one_limit(OWN_LIMIT))


@pytest.mark.parametrize("example", ADAPTERS)
def test_a_clean_pair_is_the_same(example: str, lefts: dict[str, OwnSide]):
    record = diagnosed(lefts[example], EXAMPLES / example, ADAPTERS[example][1])
    assert (record["culprit"], record["failed"], record["lost"], record["missing"]) == (None, 0, [], [])
    errors = [row[key] for row in record["modules"] for key in row if key not in ("module", "note")]
    assert len(errors) > 20 and None not in errors and max(errors) < OWN_LIMIT
    assert {row["note"] for row in record["modules"]} == {""}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: f"{bug.example}: {bug.name}")
def test_a_planted_bug_is_found_by_name(bug: Bug, lefts: dict[str, OwnSide], tmp_path: Path):
    folder = tmp_path / "planted"
    shutil.copytree(EXAMPLES / bug.example, folder)
    text = (folder / bug.file).read_text()
    assert text.count(bug.find) == 1
    (folder / bug.file).write_text(text.replace(bug.find, bug.replace))
    record = diagnosed(lefts[bug.example], folder, ADAPTERS[bug.example][1])
    assert record["culprit"] is not None
    assert (record["culprit"]["module"], record["culprit"]["where"]) == bug.culprit, record["culprit"]
    lost = {parameter["parameter"] for parameter in record["lost"]}
    assert {name for name in lost if not name.endswith(".bias")} == set(bug.lost)
