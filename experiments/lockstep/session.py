"""Carry out the runs of a lockstep session: a run that is recorded whole is not repeated."""

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import frameworks
from experiments.data.batches import batch_count
from experiments.lockstep.faults import FAULTS, NONE, Fault
from experiments.lockstep.plan import IMAGES, Plan, RunKey, batches, run_keys
from experiments.progress import Progress, say
from experiments.runs.control import moved_weights
from experiments.runs.host import host_record, now
from frameworks.arrays import Arrays, load_arrays, save_arrays
from frameworks.config import ExperimentSpec
from frameworks.errors import UserError
from frameworks.protocol import Framework, Stepper
from frameworks.state.initialisation import initial_weights
from frameworks.state.parameters import trainable_names
from frameworks.workers.client import open_framework
from reports.lockstep.records import BASE, FAULT, PERTURBED, RECORDS, steps_of
from reports.record_writer import append_all, keep_records

START = "start.safetensors"
NUMBERS = 256  # of each parameter, evenly spaced: those whose distance is measured
KINDS = ("parameter", "ema")


@dataclass
class Session:
    """A plan, its folder, and the frameworks that are open; each is started at first use."""

    plan: Plan
    folder: Path
    dtypes: tuple[str, ...]
    data: str | None
    stack: contextlib.ExitStack
    opened: dict[str, Framework] = field(default_factory=dict)

    def framework(self, name: str) -> Framework:
        """The framework in its worker."""
        if name not in self.opened:
            self.opened[name] = self.stack.enter_context(open_framework(name))
        return self.opened[name]

    def carry_out(self) -> None:
        """Run what is missing. Raises UserError if the folder belongs to another plan, or for missing data."""
        done = self._done()
        keys = [key for dtype in self.dtypes for key in run_keys(self.plan, dtype)]
        left = [key for key in keys if key not in done]
        if not left:
            return
        sentence, inputs = batches(self.plan, self.data)
        say(sentence)
        if not done:
            session = {"kind": "session", "plan": self.plan.settings(), "data": sentence, "date": now()}
            append_all(self.folder / RECORDS, [session | {"host": host_record()}])
        start = self._start(inputs[: self.plan.warm])
        done_count, count = (sum(map(self._steps_of, some)) for some in (done, keys))
        with Progress("lockstep", count, "step", done=done_count) as progress:
            for key in left:
                progress.advance(0, key.title)
                append_all(self.folder / RECORDS, self._run(key, start, inputs[self.plan.warm :], progress.advance))

    def _done(self) -> set[RunKey]:
        """Keys of the runs that are recorded whole; a run that a kill cut off is removed from the records."""
        path = self.folder / RECORDS
        lines = keep_records(path, lambda line: True)
        plans = [line["plan"] for line in lines if line["kind"] == "session"]
        if lines and plans[:1] != [self.plan.settings()]:
            raise UserError(f"{self.folder} holds a session with other settings; name another folder with --out")
        counts: dict[RunKey, int] = {}
        for line in lines:
            if line["kind"] != "session":
                counts[_key(line)] = counts.get(_key(line), 0) + 1
        done = {
            key
            for key, count in counts.items()
            if count == self._steps_of(key) and (key.kind != BASE or self._base(key.framework, key.dtype).exists())
        }
        keep_records(path, lambda line: line["kind"] == "session" or _key(line) in done)
        return done

    def _steps_of(self, key: RunKey) -> int:
        return steps_of(key.kind, self.plan.settings())

    def _base(self, framework: str, dtype: str) -> Path:
        return self.folder / f"{framework}-{dtype}.npy"

    def _start(self, inputs: list[Arrays]) -> Arrays:
        """The weights that all runs start from: initial ones after the plan's warm steps of the reference."""
        path, spec = self.folder / START, self.plan.spec()
        if not path.exists():
            with Progress("weights of the start", waiting="training"):
                weights = initial_weights(spec.model, self.plan.seed)
                stepper = self.framework(frameworks.REFERENCE).trainer(spec, weights, device="cpu")
                for update, batch in enumerate(inputs):
                    stepper.step(batch, NONE.rates(spec, update, 0, len(inputs)), NONE.decay(spec, update))
                state = stepper.state()
            save_arrays(path, {name: state[f"parameter/{name}"] for name in weights})
        return load_arrays(path)

    def _run(
        self, key: RunKey, start: Arrays, inputs: list[Arrays], advance: Callable[[int], None]
    ) -> list[dict[str, Any]]:
        """Train one run; returns its records, one for each step, with the distances from its base."""
        fault = next((each for each in FAULTS if key.kind == FAULT and each.stage == key.which), NONE)
        spec = fault.spec(self.plan.spec())
        weights = start
        if key.kind == PERTURBED:
            weights = moved_weights(start, trainable_names(spec.model), self.plan.seed, key.which)
        stepper = self.framework(key.framework).trainer(spec, weights, device="cpu", dtype=key.dtype)
        numbers = Numbers.of(self.plan.spec())
        records, states = self._steps(stepper, spec, fault, inputs[: self._steps_of(key)], numbers, advance)
        for number, record in enumerate(records):
            record |= asdict(key) | {"step": number + 1}
        if key.kind == BASE:
            np.save(self._base(key.framework, key.dtype), states)
        if base := _base_of(key):
            theirs = np.load(self._base(base.framework, base.dtype))[: len(states)]
            starts = numbers.of_weights(weights), numbers.of_weights(start)
            for record, distance in zip(records, distances(states, theirs, *starts), strict=True):
                record |= distance
        return records

    def _steps(
        self,
        stepper: Stepper,
        spec: ExperimentSpec,
        fault: Fault,
        inputs: list[Arrays],
        numbers: "Numbers",
        advance: Callable[[int], None],
    ) -> tuple[list[dict[str, Any]], np.ndarray]:
        """Records of losses, and [steps, 2, N] numbers of the parameters and of their average."""
        per_epoch = batch_count(IMAGES, self.plan.batch, drop_last=True)
        records, states = [], []
        for update, batch in enumerate(inputs):
            rates = fault.rates(spec, update, update // per_epoch, per_epoch)
            record = stepper.step(batch, rates, fault.decay(spec, update))
            records.append(
                {
                    "loss": record.total,
                    "gradient_norm": record.gradient_norm,
                    "matching": record.matching,
                    "seconds": record.seconds,
                }
            )
            states.append(numbers.of_state(stepper.state()))
            advance(1)
        return records, np.stack(states)


@dataclass(frozen=True)
class Numbers:
    """Evenly spaced numbers of every parameter, as one float64 vector."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, spec: ExperimentSpec) -> "Numbers":
        """Those of a spec's parameters."""
        return cls(tuple(trainable_names(spec.model)))

    def of_weights(self, weights: Arrays) -> np.ndarray:
        """[N] numbers of these weights."""
        parts = [weights[name].ravel() for name in self.names]
        picked = [part[np.linspace(0, part.size - 1, min(part.size, NUMBERS)).astype(int)] for part in parts]
        return np.concatenate(picked).astype(np.float64)

    def of_state(self, state: Arrays) -> np.ndarray:
        """[2, N] numbers of the parameters and of their average in a state of training."""
        kinds = [{name: state[f"{kind}/{name}"] for name in self.names} for kind in KINDS]
        return np.stack([self.of_weights(weights) for weights in kinds])


def distances(
    states: np.ndarray, base: np.ndarray, start: np.ndarray, base_start: np.ndarray
) -> list[dict[str, float]]:
    """Distances between what training changed in parameters and average, relative to what it changed in the base.

    Args:
        states, base: [steps, 2, N]; start, base_start: [N], where each began.
    """
    changed = base - base_start
    apart = np.linalg.norm(states - start - changed, axis=-1) / np.linalg.norm(changed, axis=-1)
    return [dict(zip(("parameters", "average"), map(float, row), strict=True)) for row in apart]


def _key(line: dict[str, Any]) -> RunKey:
    return RunKey(line["framework"], line["dtype"], line["kind"], line["which"])


def _base_of(key: RunKey) -> RunKey | None:
    """What a run is measured against: its own framework's base, and a candidate's base the reference's."""
    if key.kind != BASE:
        return RunKey(key.framework, key.dtype, BASE)
    return None if key.framework == frameworks.REFERENCE else RunKey(frameworks.REFERENCE, key.dtype, BASE)
