"""The paragraphs of a benchmark's report beside its numbers: agreement, method, caveats."""

from typing import Any

from experiments.benchmarks.cells import name_of
from experiments.benchmarks.timing import CONTROL
from frameworks import REFERENCE

FEW_ROUNDS = 8
BUSY = 0.25  # load per core before the start above which the machine was busy


def agreement(records: list[dict[str, Any]]) -> str:
    """The comparison before the timing, and the differences of the losses of the first steps."""
    lines = [
        f"- {name_of(r['framework'])}, `{r['tensor']}`: {r['error']:.1e} relative to the {name_of(REFERENCE)} "
        f"({r['dtype']}, evaluation mode, {r['image_size']}², limit {r['limit']:.0e})"
        for r in records
        if r["kind"] == "agreement"
    ]
    firsts = [r for r in records if r["kind"] == "first_call" and r["task"] == "step"]
    references = {r["image_size"]: r["losses"] for r in firsts if r["label"] == REFERENCE}
    for record in firsts:
        reference = references.get(record["image_size"])
        if record["label"] in (REFERENCE, CONTROL) or reference is None:
            continue
        # Denoising terms depend on the noise, which Hugging Face draws itself; all others must agree.
        shared = [name for name in reference if "_dn_" not in name and name in record["losses"]]
        worst = max(abs(record["losses"][n] - reference[n]) / abs(reference[n]) for n in shared)
        lines.append(
            f"- {name_of(record['label'])}, first training step at {record['image_size']}²: the {len(shared)} loss "
            f"terms that do not depend on denoising noise differ by at most {worst:.1e} (float32)"
        )
    return "\n".join(lines) or "Only one implementation was timed."


def caveats(environment: dict[str, Any]) -> list[str]:
    """What the timings do not show."""
    lines = [
        "Hugging Face draws its denoising noise itself, inside the timed step; the twins get theirs as arrays. The "
        f"number of denoising queries is the same ({environment['denoising_queries']} per image).",
        "Hugging Face has no look-forward-twice: its backward pass through the boxes is a little shorter than the "
        "twins'. Its inference is followed by the PyTorch twin's post-processing.",
        "The processes sleep while they wait (OMP_WAIT_POLICY=PASSIVE), as they must to share the cores; alone, "
        "with threads that spin between operators, each may be faster, and not all by the same factor.",
        "One synthetic batch, the same in every step, already in memory: no data loading, no augmentation, no "
        "other shapes, no multi-scale training (which makes Jittor compile again).",
        "Peak memory is of the whole process, import and smaller sizes included.",
    ]
    if environment["rounds"] < FEW_ROUNDS:
        lines.insert(0, f"Only {environment['rounds']} rounds: the intervals are too narrow to be trusted.")
    return lines


def busy_warning(environment: dict[str, Any]) -> str:
    """The warning that the machine was busy, or an empty string."""
    load, cores = environment["load_before"][0], environment["host"]["cores"]
    if load <= BUSY * cores:
        return ""
    return f"**The machine was busy (load {load:.1f} on {cores} cores before the start).** "


def method(environment: dict[str, Any]) -> str:
    """How and where the times were taken."""
    host, variables = environment["host"], environment["variables"]
    settings = " ".join(f"{name}={value}" for name, value in variables.items())
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    return (
        f"{environment['preset']}, batch {environment['batch_size']}, float32, {environment['device']}. A step is "
        "forward, loss with matching, backward, clipping, AdamW and EMA, synchronised; an inference is forward and "
        f"post-processing of the averaged model. {environment['rounds']} rounds after {environment['warm_up']} "
        "untimed calls of each: all processes alive, one working at a time, in an order that changes by round. "
        f"Medians; intervals from 10 000 bootstrap resamples; ratios are paired within rounds.\n\n"
        f"{host['cpu']}, {host['cores']} cores, {host['platform']}, Python {host['python']}; {versions}; commit "
        f"{host['git_commit'][:12]}{' with local changes' if host['git_dirty'] else ''}. `{settings}`. Load "
        f"before the start: {environment['load_before'][0]:.2f}. Started {environment['started']}."
    )
