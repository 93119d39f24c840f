"""Run an operator in PyTorch or in Jittor: outputs, and gradients of their weighted sum."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from parity_tests.operators.operator import Call, Operator, as_list, cotangent

Arrays = list[np.ndarray]
MOST = 200  # characters of a message
Answer = dict[str, Any]  # "outputs", and "gradients" or the "error" that either pass raised


def in_torch(operator: Operator, label: str, dtype: str) -> Answer:
    """What PyTorch answers; its exceptions are the caller's, since PyTorch has every operator of the atlas."""
    leaves = [torch.from_numpy(a) for a in operator.arguments(label, dtype)]
    floats = [leaf.requires_grad_() for leaf in leaves if leaf.is_floating_point()]
    torch.manual_seed(0)
    outputs = as_list(operator.torch(*leaves))
    answer: Answer = {"outputs": [torch.as_tensor(output).detach().numpy() for output in outputs]}
    weighted = [
        (output * torch.from_numpy(cotangent(tuple(output.shape), n)).to(output.dtype)).sum()
        for n, output in enumerate(outputs)
        if torch.is_tensor(output) and output.requires_grad
    ]
    if operator.differentiated(label):
        total = torch.stack(weighted).sum() if weighted else None
        found = [None] * len(floats) if total is None else torch.autograd.grad(total, floats, allow_unused=True)
        answer["gradients"] = [
            (torch.zeros_like(leaf) if g is None else g).numpy() for leaf, g in zip(floats, found, strict=True)
        ]
    return answer


def in_jittor(jt: Any, call: Call, operator: Operator, label: str, dtype: str) -> Answer:
    """What Jittor answers to ``call`` (the operator's own, or what is written instead); exceptions are results."""
    arguments = operator.arguments(label, dtype)
    answer: Answer = {}

    def run(what: str, passed: Callable[[], Arrays]) -> None:
        try:
            answer[what] = passed()
        except Exception as error:
            answer.setdefault("errors", {})[what] = [type(error).__name__, _line(error)]

    run("outputs", lambda: [_array(o) for o in as_list(call(jt, *[jt.array(a) for a in arguments]))])
    if operator.differentiated(label) and "outputs" in answer:
        run("gradients", lambda: _jittor_gradients(jt, call, arguments))
    return answer


def _jittor_gradients(jt: Any, call: Call, arguments: Arrays) -> Arrays:
    leaves = [jt.array(a) for a in arguments]
    floats = [leaf for leaf, a in zip(leaves, arguments, strict=True) if a.dtype.kind == "f"]
    outputs = as_list(call(jt, *leaves))
    weighted = [
        (output * jt.array(cotangent(tuple(output.shape), n).astype(str(output.dtype)))).sum()
        for n, output in enumerate(outputs)
        if isinstance(output, jt.Var) and str(output.dtype).startswith("float")
    ]
    if not weighted:
        return [np.zeros(leaf.shape, str(leaf.dtype)) for leaf in floats]
    return [gradient.numpy() for gradient in jt.grad(sum(weighted[1:], weighted[0]), floats)]


def _array(output: Any) -> np.ndarray:
    return output.numpy() if hasattr(output, "numpy") else np.asarray(output)


def _line(error: Exception) -> str:
    """The part of a message that says something: Jittor's are pages, with colours and times."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    compiler = re.search(r"error: (.+)", text)
    if "during compilation" in text:
        return f"the kernel does not compile: {compiler[1]}"[:MOST] if compiler else "the kernel does not compile"
    lines = [re.sub(r"\[\w \d+ [\d:.]+ \d+ ", "[", line.strip()) for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if "reason" in line.lower()]
    return (telling or lines or [""])[0][:MOST]
