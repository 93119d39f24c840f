"""Every entry of known_differences.toml still differs, and every probe has its entry."""

import importlib.util
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

import frameworks

ENTRIES = tomllib.loads((Path(__file__).parent / "known_differences.toml").read_text())["difference"]
needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None,
    reason="no judge: pip install 'twin-detr[huggingface]' brings transformers",
)


@pytest.fixture(scope="module")
def jt():
    frameworks.load("jittor")
    import jittor

    return jittor


def abs_gradient_at_zero(jt) -> bool:
    x = torch.zeros(1, requires_grad=True)
    x.abs().sum().backward()
    y = jt.array(np.zeros(1, np.float32))
    assert x.grad is not None
    return float(jt.grad(y.abs().sum(), y).item()) != float(x.grad)


def maximum_gradient_at_ties(jt) -> bool:
    a, b = torch.ones(1, requires_grad=True), torch.ones(1)
    torch.maximum(a, b).sum().backward()
    x, y = jt.array(np.ones(1, np.float32)), jt.array(np.ones(1, np.float32))
    assert a.grad is not None
    return float(jt.grad(jt.maximum(x, y).sum(), x).item()) != float(a.grad)


def topk_order_of_ties(jt) -> bool:
    scores = np.zeros((1, 5000), np.float32)
    mine = jt.topk(jt.array(scores), 48, dim=1)[1].numpy()
    return bool((mine != torch.topk(torch.from_numpy(scores), 48, dim=1).indices.numpy()).any())


def gradient_starts_in_float32(jt) -> bool:
    x = jt.array(np.ones(3))
    scale = jt.array(np.asarray([1 / 160]))
    loss = x.sum() * scale
    gradient = jt.grad(1.0 * loss, x).numpy().astype(np.float64)
    return bool(np.abs(gradient * 160 - 1).max() > 1e-9)


PROBES = {
    "abs-gradient-at-zero": abs_gradient_at_zero,
    "maximum-gradient-at-ties": maximum_gradient_at_ties,
    "topk-order-of-ties": topk_order_of_ties,
    "gradient-starts-in-float32": gradient_starts_in_float32,
}


def entries(kind: str) -> list[dict[str, str]]:
    """Those about a framework, or about a judge."""
    return [entry for entry in ENTRIES if kind in entry]


def test_every_entry_says_who_differs_where_why_and_how_it_is_known():
    assert len(entries("framework")) + len(entries("judge")) == len(ENTRIES)
    for entry in ENTRIES:
        assert all(entry[field] for field in ("id", "case", "reason", "evidence"))


def test_entries_and_probes_are_the_same():
    assert sorted(entry["id"] for entry in entries("framework")) == sorted(PROBES)


@pytest.mark.parametrize("entry", entries("framework"), ids=lambda entry: entry["id"])
def test_framework_still_differs(entry, jt):
    assert PROBES[entry["id"]](jt), f"{entry['id']} no longer differs: remove the entry and what it excuses"


@needs_transformers
def test_entries_and_probes_of_huggingface_are_the_same():
    from parity_tests.cases import huggingface_differences

    assert sorted(entry["id"] for entry in entries("judge")) == sorted(huggingface_differences.PROBES)


@needs_transformers
@pytest.mark.parametrize("entry", entries("judge"), ids=lambda entry: entry["id"])
def test_huggingface_still_differs_and_only_so(entry):
    from parity_tests.cases import huggingface_differences

    assert entry["judge"] == "huggingface"
    finding = huggingface_differences.PROBES[entry["id"]]()
    assert finding.differs, f"{entry['id']} no longer differs: remove the entry and what it excuses"
    assert finding.explained, f"{entry['id']}: something else than the entry says differs, too"
