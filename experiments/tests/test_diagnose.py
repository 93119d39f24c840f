"""The examples of docs/extending/diagnose.md: clean pairs are the same, planted bugs are found by name."""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from experiments import diagnose as command
from experiments.diagnosis.calls import tensors_in, with_tensors
from experiments.diagnosis.diagnosis import Record, diagnose, one_limit
from experiments.diagnosis.names import read_names, right_name
from experiments.diagnosis.page import summary, write_page
from experiments.diagnosis.sides import OwnSide
from experiments.diagnosis.start import OWN_LIMIT
from frameworks.errors import UserError
from frameworks.judge.diagnosis import lost_gradients, without_lost
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


def arguments(example: str, folder: Path, out: Path, *more: str) -> list[str]:
    left, right = (str(folder / adapter) for adapter in ADAPTERS[example])
    names = str(folder / "names.toml")
    return ["--left", left, "--right", right, "--rename", names, "--out", str(out), *more]


def test_the_command_says_that_a_pair_is_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """And the page and the figure are made again from the record alone."""
    folder, out = EXAMPLES / "refactoring", tmp_path / "out"
    assert command.main(arguments("refactoring", folder, out)) == 0
    assert "the same: all" in capsys.readouterr().out
    page, figure = (out / "diagnosis.md").read_text(), (out / "diagnosis.png").read_bytes()
    (out / "diagnosis.md").unlink()
    (out / "diagnosis.png").unlink()
    write_page(out / "diagnosis.json")
    assert (out / "diagnosis.md").read_text() == page
    assert (out / "diagnosis.png").read_bytes() == figure


PLAIN = """
class Plain:
    weights = inputs = staticmethod(dict)

MODEL = Plain()
"""


def test_the_command_fails_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    broken = tmp_path / "broken.toml"
    broken.write_text('[names]\n"layers.*" = "blocks"\n')
    (tmp_path / "plain.py").write_text(PLAIN)  # needs no PyTorch, so that its worker starts at once
    own, plain = str(EXAMPLES / "refactoring/adapters.py"), str(tmp_path / "plain.py")
    for given, said in (
        (["--left", "torch"], "--right"),
        (["--left", "torch", "--right", "tensorflow"], "tensorflow"),
        (["--left", "torch", "--right", f"{own}:AFTER"], "expected two adapters"),
        (["--left", "torch", "--right", "jittor", "--rename", "x.toml"], "own pairs"),
        (["--left", "torch", "--right", "jittor", "--image-size", "50", "64"], "multiples of 32"),
        (["--left", f"{plain}:NONE", "--right", f"{plain}:MODEL"], "defines no 'NONE'"),
        (["--left", f"{plain}:MODEL", "--right", "nowhere.py:MODEL"], "no such file"),
        (["--left", f"{own}:BEFORE", "--right", f"{own}:AFTER"], "no weights for blocks.0."),
        (["--left", f"{own}:BEFORE", "--right", f"{own}:AFTER", "--rename", str(broken)], "as many *"),
        (["--left", f"{plain}:MODEL", "--right", f"{plain}:MODEL"], "gives no inputs"),
    ):
        assert command.main([*given, "--out", str(tmp_path / "out")]) == 2, given
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("error: ") and said in error, error


def test_the_published_page_is_the_one_that_the_record_gives(tmp_path: Path):
    published = REPOSITORY / "reports/examples"
    shutil.copy(published / "diagnosis.json", tmp_path)
    write_page(tmp_path / "diagnosis.json")
    assert (tmp_path / "diagnosis.md").read_text() == (published / "diagnosis.md").read_text()


def test_the_documentation_shows_the_adapters_and_the_output():
    page = (REPOSITORY / "docs/extending/diagnose.md").read_text()
    for file in ("adapter_torch.py", "adapter_jittor.py", "names.toml"):
        assert (EXAMPLES / "cnn" / file).read_text() in page
    assert summary(json.loads((REPOSITORY / "reports/examples/diagnosis.json").read_text())) in page
    for adapter in EXAMPLES.glob("*/adapter_*.py"):
        assert len(adapter.read_text().splitlines()) <= 20, adapter


def test_rules_rename_modules_and_what_is_below_them():
    rules = {"layers.*": "blocks.*", "layers.*.attention": "blocks.*.attn", "norm.weight": "norm.gamma"}
    for left, right in (
        ("layers.3.up.weight", "blocks.3.up.weight"),
        ("layers.0.attention.query", "blocks.0.attn.query"),
        ("layers", "layers"),
        ("norm.weight", "norm.gamma"),
        ("norm.bias", "norm.bias"),
    ):
        assert right_name(left, rules) == right


def test_tensors_are_found_and_replaced_in_any_container():
    call = ((1, None, [2, "text"]), {"mask": 3, "more": (4,)})
    assert tensors_in(call, int) == [1, 2, 3, 4]
    assert with_tensors(call, int, iter([5, 6, 7, 8])) == ((5, None, [6, "text"]), {"mask": 7, "more": (8,)})


def test_a_gradient_counts_as_lost_only_if_the_other_side_has_one():
    left = {"gradient/a": np.ones(2), "gradient/b": np.ones(2), "gradient/c": np.full(2, 1e-17)}
    right = {"gradient/a": np.ones(2), "gradient/b": np.zeros(2), "gradient/d": np.zeros(2)}
    found = lost_gradients(left, right, "float64")
    assert [(lost.parameter, lost.left, lost.right) for lost in found] == [("b", "gradient", "exactly zero")]
    assert [set(side) for side in without_lost(left, right, "float64")] == [{"gradient/a", "gradient/b"}] * 2


def test_a_result_that_is_written_over_keeps_its_own_gradient():
    """And dropout is switched off, or the gradients would not be 0 and 1."""
    import torch
    from torch import nn

    from experiments.diagnosis.torch_model import TorchModel

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.drop = nn.Linear(3, 8), nn.Dropout(0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu_(self.drop(self.linear(x)))

    model = TorchModel(Network, lambda network, inputs: {"loss": network(inputs["x"]).sum()})
    trace = model.run(model.weights(), {"x": np.ones((2, 3))}, "float64", True, None)
    output, cotangent = trace["capture/linear/output/0"], trace["capture/linear/cotangent/0"]
    assert (output < 0).any() and np.array_equal(cotangent, output > 0)
    alone = model.alone("linear", {"input/0": np.ones((2, 3)), "cotangent/0": cotangent})
    assert np.array_equal(alone["output/0"], output)
    assert np.array_equal(alone["gradient/linear.weight"], trace["gradient/linear.weight"])
    with pytest.raises(UserError, match="Did you mean 'linear'"):
        TorchModel(Network, model.step, modules=("liner",)).run(model.weights(), {}, "float64", True, None)
