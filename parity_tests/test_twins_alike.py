"""Compare the twins' source: same files, same public names in the same order, same parameters, same imports.

The source is parsed, so neither framework is needed. ``Module.forward`` in PyTorch is ``Module.execute`` in Jittor.
Every other difference is listed below with its reason; a listed difference that no longer exists fails too.
"""

import ast
import re
from pathlib import Path

import pytest

import frameworks

ROOT = Path(frameworks.__file__).parent
TORCH, JITTOR = ROOT / "torch_rtdetr", ROOT / "jittor_rtdetr"
TWIN_PACKAGE = re.compile(r"frameworks\.(torch|jittor)_rtdetr")
SAME_METHOD = {"execute": "forward"}
SAME_CLASS = {"TorchFramework": "Framework", "JittorFramework": "Framework"}

# What only the PyTorch twin has.
TORCH_ONLY = {
    "flops.py": "PyTorch counts operations on tensors that are shapes only; they are a property of the model",
    "onnx_export.py": "PyTorch's exporter writes the graph; it takes weights that any framework has trained",
}

# What only the Jittor twin has, beside the mirrored files.
JITTOR_ONLY = {
    "operators.py": "operators that Jittor lacks, computes in float32, or runs far slower than PyTorch",
    "native/": "the slow operators once more, in C++: Jittor's own kernels run on one core",
    "runtime/": "Jittor compiles and configures itself on import: prepared, checked and probed before",
}

# (file, kind of difference, what) -> reason. "only torch" and "only jittor" name a public function, class or
# method; "parameters" names one whose parameter names differ.
DIFFERENCES = {
    ("adapter.py", "only torch", "Framework.__init__"): "TF32 and threads are flags to set; Jittor reads variables",
    ("exchange.py", "only jittor", "connected"): "jt.grad returns zeros, not None, for unused parameters",
    ("exchange.py", "parameters", "build"): "a Jittor process has one device, chosen before its import",
    ("training.py", "parameters", "inference_model"): "a Jittor process has one device, chosen before its import",
    ("training.py", "only torch", "in_float32"): "after mixed precision, which Jittor has not (docs/jittor.md)",
    ("optimizer.py", "parameters", "clip_gradients"): "the loss scale of mixed precision, which Jittor has not",
    ("profiling.py", "only jittor", "kernel_kind"): "Jittor names a fused kernel by the code of all its operators",
    ("layers.py", "only jittor", "BatchNorm2d.__init__"): "Jittor's norms cancel in float32: written out",
    ("layers.py", "parameters", "BatchNorm2d.forward"): "the activation is computed in the pass of the norm",
    ("layers.py", "parameters", "FrozenBatchNorm2d.forward"): "the activation is computed in the pass of the norm",
    ("layers.py", "only jittor", "Conv2d"): "float64 by matrix products; PyTorch's is used as it is",
    ("layers.py", "only jittor", "Conv2d.forward"): "float64 by matrix products",
    ("layers.py", "only jittor", "Linear"): "bias and ReLU in the pass of the product; PyTorch's is used as it is",
    ("layers.py", "only jittor", "Linear.forward"): "bias and ReLU in the pass of the product",
    ("layers.py", "only jittor", "LayerNorm.__init__"): "Jittor's norms cancel in float32: written out",
    ("layers.py", "only jittor", "LayerNorm.forward"): "Jittor's norms cancel in float32: written out",
}

# (module, which twin alone imports it) -> reason, files. TWIN is the twin's own package, FRAMEWORK is torch or
# jittor with everything inside.
IMPORTS = {
    ("TWIN.operators", "only jittor"): (
        "operators that Jittor lacks, or computes inexactly or slowly",
        "attention box_ops criterion denoising ema layers optimizer postprocess backbones/regnet",
    ),
    ("numpy", "only jittor"): (
        "constants are built on the host: exact in float64, and no kernel to compile",
        "attention decoder denoising deploy encoder training",
    ),
    ("frameworks.threads", "only torch"): ("Jittor's threads are set before its import, by runtime/", "adapter"),
    ("frameworks.native.library", "only torch"): ("loads the C++ operator; Jittor compiles its text", "deformable"),
    ("frameworks.native", "only jittor"): ("the text of the C++ operator", "deformable"),
    ("ctypes", "only torch"): ("calls the C++ operator; Jittor has jt.code", "deformable"),
    ("numpy", "only torch"): ("the type of the table that the C++ operator reads", "deformable"),
    ("typing", "only torch"): ("the context of an autograd function", "deformable"),
    ("dataclasses", "only torch"): ("traces without mixed precision, which Jittor has not", "adapter"),
    ("TWIN.deformable", "only torch"): ("records whether the C++ operator could be compiled", "adapter"),
    ("TWIN.layers", "only jittor"): (
        "batch norms have plain counters, outside the state_dict; linear layers are written out",
        "attention exchange",
    ),
    ("frameworks.state.reached", "only jittor"): (
        "jt.grad returns zeros, not None, for unused parameters",
        "exchange",
    ),
    ("re", "only jittor"): ("Jittor names a fused kernel by the code of all its operators", "profiling"),
    ("os", "only torch"): ("operations are counted where PyTorch's counter sees them", "profiling"),
    ("unittest", "only torch"): ("operations are counted where PyTorch's counter sees them", "profiling"),
    ("frameworks.shared.kernels", "only torch"): ("as above", "profiling"),
    ("TWIN.flops", "only torch"): ("counts operations, a property of the model", "profiling"),
    ("TWIN.runtime.compiled", "only jittor"): (
        "Jittor compiles while it trains: the records say how much",
        "training",
    ),
    ("pathlib", "only jittor"): ("Jittor compiles while it trains: the records say how much", "training"),
    ("gc", "only jittor"): ("Jittor keeps freed memory until it is collected", "adapter"),
    ("TWIN.runtime.environment", "only jittor"): ("Jittor is prepared and started before its import", "adapter"),
    ("FRAMEWORK", "only torch"): ("the Jittor twin's adapter gets the module from TWIN.runtime", "adapter"),
}


def is_public(name: str) -> bool:
    """Whether a name has no leading underscore, or is ``__init__``."""
    return not name.startswith("_") or name == "__init__"


def parameters(function: ast.FunctionDef) -> list[str]:
    """Names of the parameters in order; keyword-only ones end with ``=``."""
    a = function.args
    starred = [f"*{v.arg}" for v in (a.vararg,) if v] + [f"**{v.arg}" for v in (a.kwarg,) if v]
    return [p.arg for p in (*a.posonlyargs, *a.args)] + [f"{p.arg}=" for p in a.kwonlyargs] + starred


def describe(source: str) -> dict[str, list[str]]:
    """Public classes, functions and methods in order of appearance, with their parameter names."""
    found: dict[str, list[str]] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and is_public(node.name):
            found[node.name] = parameters(node)
        if isinstance(node, ast.ClassDef) and is_public(node.name):
            name = SAME_CLASS.get(node.name, node.name)
            found[name] = []
            found |= {f"{name}.{n}": p for n, p in members(node)}
    return found


def members(node: ast.ClassDef) -> list[tuple[str, list[str]]]:
    """Public methods with their parameters; a dataclass has its fields instead of an __init__."""
    fields = [s.target.id for s in node.body if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)]
    is_record = any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
    found = [("fields", fields)] if is_record else []
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and is_public(method.name):
            found.append((SAME_METHOD.get(method.name, method.name), parameters(method)))
    return found


def differences(torch_source: str, jittor_source: str) -> set[tuple[str, str]]:
    """(kind, what) of every difference between two files; order counts only among the common names."""
    torch, jittor = describe(torch_source), describe(jittor_source)
    found = {("only torch", name) for name in torch.keys() - jittor.keys()}
    found |= {("only jittor", name) for name in jittor.keys() - torch.keys()}
    common, order = [n for n in torch if n in jittor], [n for n in jittor if n in torch]
    found |= {("order", n) for n, m in zip(common, order, strict=True) if n != m}
    return found | {("parameters", name) for name in common if torch[name] != jittor[name]}


def imports(source: str) -> set[str]:
    """Modules that a file imports anywhere, by names that are the same in both twins."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            folder = ROOT.parent.joinpath(*(node.module or ".").split("."))
            inside = {f"{node.module}.{a.name}" for a in node.names if (folder / f"{a.name}.py").exists()}
            found |= inside or {node.module or "."}
    return {re.sub(r"^(torch|jittor)(\..*)?$", "FRAMEWORK", TWIN_PACKAGE.sub("TWIN", name)) for name in found}


def import_differences(torch_source: str, jittor_source: str) -> set[tuple[str, str]]:
    """(module, which twin alone imports it)."""
    torch, jittor = imports(torch_source), imports(jittor_source)
    return {(name, "only torch") for name in torch - jittor} | {(name, "only jittor") for name in jittor - torch}


def files(folder: Path) -> set[str]:
    """Python files below a folder, as relative paths."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}


def test_every_torch_file_has_its_twin():
    missing = files(TORCH) - files(JITTOR)
    assert missing == TORCH_ONLY.keys(), f"jittor_rtdetr lacks {sorted(missing)}"
    assert all(TORCH_ONLY.values())


def test_files_of_the_jittor_twin_alone_are_listed_with_their_reason():
    alone = files(JITTOR) - files(TORCH)
    folders = tuple(name for name in JITTOR_ONLY if name.endswith("/"))
    grouped = {next((f for f in folders if name.startswith(f)), name) for name in alone}
    assert grouped == JITTOR_ONLY.keys()
    assert all(JITTOR_ONLY.values())


@pytest.mark.parametrize("file", sorted(files(TORCH) - TORCH_ONLY.keys()))
def test_twins_have_the_same_public_names(file):
    if not (JITTOR / file).exists():
        pytest.fail(f"jittor_rtdetr/{file} does not exist")
    found = differences((TORCH / file).read_text("utf-8"), (JITTOR / file).read_text("utf-8"))
    allowed = {(kind, what) for name, kind, what in DIFFERENCES if name == file}
    assert not found - allowed, f"{file}: the twins differ, and no reason is recorded: {sorted(found - allowed)}"
    assert not allowed - found, f"{file}: recorded as different, but alike now: {sorted(allowed - found)}"


@pytest.mark.parametrize("file", sorted(files(TORCH) - TORCH_ONLY.keys()))
def test_twins_import_the_same_modules(file):
    found = import_differences((TORCH / file).read_text("utf-8"), (JITTOR / file).read_text("utf-8"))
    allowed = {what for what, (_, names) in IMPORTS.items() if file.removesuffix(".py") in names.split()}
    assert not found - allowed, f"{file}: imports differ, and no reason is recorded: {sorted(found - allowed)}"
    assert not allowed - found, f"{file}: recorded as different, but alike now: {sorted(allowed - found)}"


def test_every_difference_has_a_reason_and_a_file():
    assert all(DIFFERENCES.values()) and all(reason for reason, _ in IMPORTS.values())
    named = {f"{name}.py" for _, names in IMPORTS.values() for name in names.split()}
    assert named | {name for name, _, _ in DIFFERENCES} <= files(TORCH)


TWIN = """
@dataclass(frozen=True)
class Record:
    a: int
    b: int

class Block(nn.Module):
    def __init__(self, width, act): ...
    def forward(self, x): ...
    def _inside(self): ...

def first(a, *, b): ...
def second(a): ...
def _private(): ...
"""


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("forward", "execute", set()),
        ("_private", "_other", set()),
        ("_inside(self)", "_inside(self, x)", set()),
        ("forward(self, x)", "execute(self, y)", {("parameters", "Block.forward")}),
        ("width, act", "act, width", {("parameters", "Block.__init__")}),
        ("    b: int\n", "", {("parameters", "Record.fields")}),
        ("a, *, b", "a, b", {("parameters", "first")}),
        ("def second(a): ...", "", {("only torch", "second")}),
        ("def _private", "def third", {("only jittor", "third")}),
        ("_inside", "inside", {("only jittor", "Block.inside")}),
        (
            "def first(a, *, b): ...\ndef second(a): ...",
            "def second(a): ...\ndef first(a, *, b): ...",
            {("order", "first"), ("order", "second")},
        ),
    ],
)
def test_planted_differences_are_found(old, new, found):
    assert old in TWIN
    assert differences(TWIN, TWIN.replace(old, new)) == found


IMPORTING = """
import torch.nn.functional as F
from torch import Tensor

from frameworks.arrays import Arrays
from frameworks.torch_rtdetr.layers import MLP

def late():
    from frameworks.torch_rtdetr import exchange
"""


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("MLP", "MLP, ConvNorm", set()),
        ("import jittor.nn.functional as F\n", "", set()),
        ("from frameworks.arrays import Arrays\n", "", {("frameworks.arrays", "only torch")}),
        ("jittor_rtdetr.layers", "jittor_rtdetr.ema", {("TWIN.layers", "only torch"), ("TWIN.ema", "only jittor")}),
        ("def late", "import numpy as np\n\ndef late", {("numpy", "only jittor")}),
        ("import exchange", "import exchange, tracing", {("TWIN.tracing", "only jittor")}),
    ],
)
def test_planted_imports_are_found(old, new, found):
    jittor = IMPORTING.replace("torch", "jittor")
    assert import_differences(IMPORTING, jittor) == set()
    assert old in jittor
    assert import_differences(IMPORTING, jittor.replace(old, new)) == found
