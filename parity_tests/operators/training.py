"""Three steps of optimizers and ten of learning-rate schedules, written out in NumPy."""

import numpy as np
import torch

from parity_tests.operators.inputs import drawn
from parity_tests.operators.operator import Operator

STEPS = {"ordinary": (drawn(4, 6), drawn(4, 6, seed=1))}
RATE, COUNT = 0.125, 3  # exact in float32, as all numbers below that can be
NOTHING: dict[str, tuple[np.ndarray, ...]] = {"10 steps": ()}


def in_torch(make, x, g):
    """The parameter x after three steps with the gradient g (then 2 g, 3 g)."""
    parameter = torch.nn.Parameter(x.detach().clone())
    optimizer = make([parameter])
    for n in range(COUNT):
        parameter.grad = g.detach() * (n + 1)
        optimizer.step()
    return parameter.detach()


def in_jittor(jt, make, x, g):
    """The same in Jittor, whose optimizers take the loss."""
    parameter, g = x.detach(), g.detach()
    optimizer = make([parameter])
    for n in range(COUNT):
        optimizer.step((parameter * g * (n + 1)).sum())
    return parameter


def sgd(x, g, momentum=0.0, dampening=0.0, decay=0.0):
    """SGD; the first step takes the whole gradient."""
    moment = None
    for n in range(COUNT):
        d = g * (n + 1) + decay * x
        moment = d if moment is None else momentum * moment + (1 - dampening) * d
        x = x - RATE * moment
    return x


def adam(x, g, decay=0.0, coupled=False):
    """Adam, and AdamW with decoupled decay; betas 1/2 and 3/4, eps 2**-10."""
    m, v = np.zeros_like(x), np.zeros_like(x)
    for n in range(COUNT):
        d = g * (n + 1) + (decay * x if coupled else 0)
        m, v = m / 2 + d / 2, 0.75 * v + 0.25 * d * d
        x = x if coupled else x * (1 - RATE * decay)
        root = np.sqrt(v / (1 - np.longdouble(0.75) ** (n + 1))) + 2.0**-10
        x = x - RATE * m / (1 - 0.5 ** (n + 1)) / root
    return x


ADAM = {"lr": RATE, "betas": (0.5, 0.75), "eps": 2.0**-10}


def torch_rates(make):
    """Learning rates of ten steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule, rates = make(optimizer), []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return torch.tensor(rates)


def jittor_rates(jt, make):
    """The same in Jittor: the schedule steps after the optimizer."""
    optimizer = jt.optim.SGD([jt.zeros(1)], lr=1.0)
    schedule, rates = make(optimizer), []
    for _ in range(10):
        rates.append(optimizer.lr)
        schedule.step()
    return np.asarray(rates, np.float32)


OPERATORS = [
    Operator(
        "SGD",
        truth=lambda x, g: sgd(x, g),
        torch=lambda x, g: in_torch(lambda p: torch.optim.SGD(p, lr=RATE), x, g),
        jittor=lambda jt, x, g: in_jittor(jt, lambda p: jt.optim.SGD(p, lr=RATE), x, g),
        inputs=STEPS,
        gradient=False,
    ),
    Operator(
        "SGD, momentum and decay",
        truth=lambda x, g: sgd(x, g, momentum=0.5, decay=0.25),
        torch=lambda x, g: in_torch(lambda p: torch.optim.SGD(p, RATE, momentum=0.5, weight_decay=0.25), x, g),
        jittor=lambda jt, x, g: in_jittor(jt, lambda p: jt.optim.SGD(p, RATE, 0.5, weight_decay=0.25), x, g),
        inputs=STEPS,
        gradient=False,
    ),
    Operator(
        "SGD, dampening",
        truth=lambda x, g: sgd(x, g, momentum=0.5, dampening=0.25),
        torch=lambda x, g: in_torch(lambda p: torch.optim.SGD(p, RATE, momentum=0.5, dampening=0.25), x, g),
        jittor=lambda jt, x, g: in_jittor(jt, lambda p: jt.optim.SGD(p, RATE, 0.5, dampening=0.25), x, g),
        inputs=STEPS,
        gradient=False,
        note="dampens the first step too",
    ),
    Operator(
        "Adam",
        truth=lambda x, g: adam(x, g),
        torch=lambda x, g: in_torch(lambda p: torch.optim.Adam(p, **ADAM), x, g),
        jittor=lambda jt, x, g: in_jittor(jt, lambda p: jt.optim.Adam(p, **ADAM), x, g),
        inputs=STEPS,
        gradient=False,
        note="eps stands before the correction of the second moment",
    ),
    Operator(
        "AdamW",
        truth=lambda x, g: adam(x, g, decay=0.25),
        torch=lambda x, g: in_torch(lambda p: torch.optim.AdamW(p, weight_decay=0.25, **ADAM), x, g),
        jittor=lambda jt, x, g: in_jittor(jt, lambda p: jt.optim.AdamW(p, weight_decay=0.25, **ADAM), x, g),
        inputs=STEPS,
        gradient=False,
        note="its numbers are float32, in float64 too",
    ),
    Operator(
        "AdamW, default decay",
        truth=lambda x, g: adam(x, g, decay=0.01),
        torch=lambda x, g: in_torch(lambda p: torch.optim.AdamW(p, **ADAM), x, g),
        jittor=lambda jt, x, g: in_jittor(jt, lambda p: jt.optim.AdamW(p, **ADAM), x, g),
        inputs=STEPS,
        instead=lambda jt, x, g: in_jittor(jt, lambda p: jt.optim.AdamW(p, weight_decay=0.01, **ADAM), x, g),
        gradient=False,
        note="the default is 0, PyTorch's is 0.01",
    ),
    Operator(
        "MultiStepLR",
        truth=lambda: np.asarray([1] * 3 + [0.5] * 4 + [0.25] * 3, np.float32),
        torch=lambda: torch_rates(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [3, 7], 0.5)),
        jittor=lambda jt: jittor_rates(jt, lambda o: jt.lr_scheduler.MultiStepLR(o, [3, 7], 0.5)),
        inputs=NOTHING,
        note="one step late",
    ),
    Operator(
        "StepLR",
        truth=lambda: np.asarray([1] * 4 + [0.5] * 4 + [0.25] * 2, np.float32),
        torch=lambda: torch_rates(lambda o: torch.optim.lr_scheduler.StepLR(o, 4, 0.5)),
        jittor=lambda jt: jittor_rates(jt, lambda o: jt.lr_scheduler.StepLR(o, 4, 0.5)),
        inputs=NOTHING,
    ),
    Operator(
        "ExponentialLR",
        truth=lambda: 0.5 ** np.arange(10, dtype=np.float32),
        torch=lambda: torch_rates(lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.5)),
        jittor=lambda jt: jittor_rates(jt, lambda o: jt.lr_scheduler.ExponentialLR(o, 0.5)),
        inputs=NOTHING,
        note="one step late",
    ),
    Operator(
        "CosineAnnealingLR",
        truth=lambda: ((1 + np.cos(np.pi * np.arange(10) / 16)) / 2).astype(np.float32),
        torch=lambda: torch_rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 16)),
        jittor=lambda jt: jittor_rates(jt, lambda o: jt.lr_scheduler.CosineAnnealingLR(o, 16)),
        inputs=NOTHING,
        note="one step late",
    ),
]
