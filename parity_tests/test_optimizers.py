"""Every optimizer and schedule on given gradients: both twins against PyTorch's own, group by group."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from frameworks.arrays import Arrays
from frameworks.config import ParameterGroup, RecipeSpec
from frameworks.judge.decisions import updates
from frameworks.protocol import Case
from frameworks.state.parameters import trainable_names
from parity_tests.agreement import DEVICES, assert_agreement, assert_same_function, no_module
from parity_tests.cases import subjects
from parity_tests.traces import TRUTH, Traces

STEPS = 3
FIRST = "backbone"
# Decays and rates that a wrong formula cannot hide behind; no average, so that only the update is compared.
GROUPS = (ParameterGroup(FIRST, lr=1e-2, weight_decay=0.2), ParameterGroup("", lr=1e-3, weight_decay=0.1))
FROZEN = (replace(GROUPS[0], lr=0.0), GROUPS[1])
BY_STEP = {"schedule_by": "step", "schedule_length": STEPS}
CYCLE = {"pct_start": 0.6, "div_factor": 4.0, "final_div_factor": 10.0}
CASES: dict[str, dict[str, Any]] = {
    "adam, cosine": {"optimizer": "adam", "schedule": "cosine", "min_lr": 1e-4, **BY_STEP},
    "adam, cosine of all epochs": {
        "optimizer": "adam",
        "schedule": "cosine",
        "schedule_by": "step",
        "epochs": STEPS,
    },
    "sgd, one cycle": {"optimizer": "sgd", "schedule": "onecycle", **CYCLE, **BY_STEP},
    "sgd with momentum": {"optimizer": "sgd", "momentum": 0.9},
    "sgd, Nesterov": {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
    "adamw, frozen backbone": {"groups": FROZEN, "clip_max_norm": 0.1},
    "adamw, past its warm-up": {"warmup_steps": STEPS - 1},
}
OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}


def case_of(fields: dict[str, Any]) -> tuple[subjects.Subject, Case]:
    """The subject ``tiny`` with another recipe, and its optimizer question."""
    subject = subjects.subject("tiny")
    recipe = replace(subject.spec.recipe, **{"groups": GROUPS, "clip_max_norm": 0.01, **fields})
    subject = replace(subject, spec=replace(subject.spec, recipe=recipe))
    return subject, Case("optimizer", subject.spec, steps=STEPS)


def by_torch(subject: subjects.Subject, inputs: Arrays) -> Arrays:
    """Parameters after ``STEPS`` steps and the norms before clipping, by PyTorch's own classes in float64."""
    recipe = subject.spec.recipe
    trained = [name for name in trainable_names(subject.spec.model) if not recipe.is_frozen(name)]
    weights = {
        name: torch.nn.Parameter(torch.tensor(subject.weights()[name], dtype=torch.float64)) for name in trained
    }
    optimizer = optimizer_of(recipe, weights)
    scheduler = scheduler_of(recipe, optimizer)
    arrays: Arrays = {}
    for step in range(STEPS):
        for name, parameter in weights.items():
            parameter.grad = torch.from_numpy(inputs[f"gradient/{step}/{name}"]).double()
        norm = torch.nn.utils.clip_grad_norm_(weights.values(), recipe.clip_max_norm)
        arrays[f"step{step}/gradient_norm/total"] = norm.numpy()
        optimizer.step()
        scheduler.step()
    return arrays | {f"parameter/{name}": value.detach().numpy() for name, value in weights.items()}


def optimizer_of(recipe: RecipeSpec, weights: dict[str, torch.nn.Parameter]) -> torch.optim.Optimizer:
    """PyTorch's optimizer in its plain form over the groups that are trained."""
    parts: list[dict[str, Any]] = [
        {"params": [], "lr": group.lr, "weight_decay": group.weight_decay} for group in recipe.groups
    ]
    for name, parameter in weights.items():
        parts[0 if FIRST in name else 1]["params"].append(parameter)
    sgd = {"momentum": recipe.momentum, "nesterov": recipe.nesterov}
    rest = sgd if recipe.optimizer == "sgd" else {"betas": recipe.betas, "eps": recipe.eps}
    return OPTIMIZERS[recipe.optimizer]([part for part in parts if part["lr"]], foreach=False, **rest)


def scheduler_of(recipe: RecipeSpec, optimizer: torch.optim.Optimizer) -> Any:
    """PyTorch's scheduler, moved once a step."""
    schedulers = torch.optim.lr_scheduler
    if recipe.schedule == "cosine":
        return schedulers.CosineAnnealingLR(optimizer, STEPS, eta_min=recipe.min_lr)
    if recipe.schedule == "onecycle":
        tops = [group["lr"] for group in optimizer.param_groups]
        cycle = {name: getattr(recipe, name) for name in CYCLE}
        return schedulers.OneCycleLR(optimizer, tops, STEPS, cycle_momentum=False, **cycle)
    count = recipe.warmup_steps
    if count:
        return schedulers.LinearLR(optimizer, start_factor=1 / count, total_iters=count - 1)
    return schedulers.MultiStepLR(optimizer, [1000])


# float32 runs the same lines; one case is enough to see that the numbers keep its precision.
DTYPE_OF = [*((name, "float64") for name in CASES), ("sgd with momentum", "float32")]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("name", "dtype"), DTYPE_OF)
def test_optimizer(name, dtype, device, traces: Traces, record):
    """Updates, moments and norms of the twins, on identical gradients."""
    subject, case = case_of(CASES[name])
    inputs = subjects.given_gradients(subject, STEPS)
    truth = updates(traces.run(case, subject, inputs, *TRUTH), subject.weights())
    traced = traces.run_all(case, subject, inputs, dtype, device)
    outputs = {framework: updates(trace, subject.weights()) for framework, trace in traced.items()}
    assert_agreement(outputs, truth, record(subject, f"optimizer: {name}", dtype, device), search=no_module)


@pytest.mark.parametrize("name", CASES)
def test_the_truth_is_what_pytorch_itself_computes(name, traces: Traces, record):
    """Frozen parameters do not move, and their gradients are not in the norm."""
    subject, case = case_of(CASES[name])
    inputs = subjects.given_gradients(subject, STEPS)
    trace = traces.run(case, subject, inputs, *TRUTH)
    wanted = by_torch(subject, inputs)
    found = {key: trace[key] for key in wanted}
    changes = [updates(arrays, subject.weights()) for arrays in (found, wanted)]
    assert_same_function({TRUTH[0]: changes[0]}, changes[1], record(subject, f"torch.optim: {name}", *TRUTH[1:]))
    still = [key for key in trainable_names(subject.spec.model) if f"parameter/{key}" not in wanted]
    assert bool(still) == (name == "adamw, frozen backbone")
    for key in still:
        np.testing.assert_array_equal(trace[f"parameter/{key}"], subject.weights()[key].astype(np.float64))
        assert f"moment1/{key}" not in trace
