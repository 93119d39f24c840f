"""Profile a training step of each twin, in processes of its own and after all timings, which it would disturb."""

from experiments.benchmarks.session import Entry, Session, drawn_weights, make_inputs, place_name, place_of
from frameworks import ADAPTERS
from frameworks.config import ExperimentSpec
from frameworks.protocol import Profiler


def profile_spec(session: Session, spec: ExperimentSpec) -> None:
    """Record where the time of a step goes, for every twin of the plan that can say it."""
    inputs, device = make_inputs(spec), session.plan.device
    for name in session.plan.frameworks:
        if name not in ADAPTERS:
            continue
        entry = Entry(name, name)
        session.say(f"{place_name(place_of(spec))}: profiling {name}")
        with session.recording(entry, "profile", spec), session.open(entry) as framework:
            if not isinstance(framework, Profiler):
                continue
            if profile := framework.profile(spec, drawn_weights(spec.model), inputs.batch, device=device):
                session.write("profile", label=name, **place_of(spec), **profile)
