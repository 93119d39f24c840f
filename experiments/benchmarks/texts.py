"""The paragraphs of a benchmark's page beside its numbers: agreement, method, caveats."""

from experiments.benchmarks.cells import AGAIN, Record, Row, name_of
from experiments.benchmarks.session import CONTROL, FORMULAS, place_name
from frameworks import REFERENCE

FEW_ROUNDS = 5
BUSY = 0.25  # load per core before the start above which the machine was busy


def agreement(records: list[Record]) -> list[str]:
    """The comparison before the timing, and the differences of the losses of the first steps."""
    lines = [
        f"{name_of(r['framework'])}, {r['preset']}, `{r['tensor']}`: {r['error']:.1e} relative to the "
        f"{name_of(REFERENCE)} ({r['dtype']}, evaluation mode, {r['image_size']}², limit {r['limit']:.0e})"
        for r in records
        if r["kind"] == "agreement"
    ]
    firsts = [r for r in records if r["kind"] == "first_call" and r["task"] == "step"]
    place = ("preset", "image_size", "batch_size")
    references = {tuple(r[key] for key in place): r["losses"] for r in firsts if r["label"] == REFERENCE}
    worst: dict[str, float] = {}
    for record in firsts:
        reference = references.get(tuple(record[key] for key in place))
        if record["label"] in (REFERENCE, CONTROL) or reference is None:
            continue
        # Denoising terms depend on the noise, which Hugging Face draws itself; all others must agree.
        shared = [name for name in reference if "_dn_" not in name and name in record["losses"]]
        largest = max(abs(record["losses"][n] - reference[n]) / abs(reference[n]) for n in shared)
        worst[record["label"]] = max(worst.get(record["label"], 0.0), largest)
    lines += [
        f"{name_of(label)}, first training step: the loss terms that do not depend on denoising noise differ by at "
        f"most {error:.1e} (float32, every preset and size)"
        for label, error in worst.items()
    ]
    return lines or ["Only one implementation was timed."]


def caveats(environment: Record, rows: list[Row]) -> list[str]:
    """What the timings do not show."""
    queries = environment["denoising_queries"]
    queries = ", ".join(map(str, queries)) if isinstance(queries, list) else queries  # one number in older records
    lines = [
        "Hugging Face draws its denoising noise itself, inside the timed step; the twins get theirs as arrays. The "
        f"number of denoising queries is the same ({queries} per image).",
        "Hugging Face has no look-forward-twice: its backward pass through the boxes is a little shorter than the "
        "twins'. Its inference is followed by the PyTorch twin's post-processing.",
        "The processes sleep while they wait (OMP_WAIT_POLICY=PASSIVE), as they must to share the cores; alone, "
        "with threads that spin between operators, each may be faster, and not all by the same factor.",
        "One synthetic batch, the same in every step, already in memory: no data loading, no augmentation, no "
        "other shapes, no multi-scale training (which makes Jittor compile again).",
        "Peak memory is of the whole process, import included.",
    ]
    if FORMULAS in {label for row in rows for label in row.cells}:
        lines.append(f"The {name_of(FORMULAS)} is the same program with TWIN_DETR_KERNELS=reference.")
    fewest = min(len(cell.rounds) for row in rows for cell in row.cells.values())
    if fewest < FEW_ROUNDS:
        lines.insert(0, f"Only {fewest} rounds somewhere: the intervals are too narrow to be trusted.")
    return lines


def busy_warning(environment: Record) -> str:
    """The warning that the machine was busy, or an empty string."""
    load, cores = environment["load_before"][0], environment["host"]["cores"]
    if load <= BUSY * cores:
        return ""
    return f"**The machine was busy (load {load:.1f} on {cores} cores before the start).** "


def method(environment: Record) -> str:
    """How the times were taken."""
    return (
        f"float32, {environment['device']}. A step is forward, loss with matching, backward, clipping, AdamW and "
        "EMA, synchronised; an inference is forward and post-processing of the averaged model. Every preset and "
        f"size has fresh processes, {environment['warm_up']} untimed calls of each, and then up to "
        f"{environment['rounds']} rounds: all processes alive, one working at a time, in an order that changes by "
        "round. Ratios are of medians over the rounds that both have; 95 % intervals from 10 000 bootstrap "
        "resamples of whole rounds, so that what slows a round down slows both sides of a ratio."
    )


def again(records: list[Record]) -> str:
    """Which sizes were timed again, or an empty string."""
    found = [record for record in records if record["kind"] == AGAIN]
    places = "; ".join(f"{place_name(r)} ({r['started']}, load {r['load_before'][0]:.2f})" for r in found)
    return f" Timed once more, because the control was too noisy there at first: {places}." if found else ""


def machine(environment: Record) -> str:
    """Where the times were taken."""
    host, variables = environment["host"], environment["variables"]
    settings = " ".join(f"{name}={value}" for name, value in variables.items())
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    memory = f"{host['memory_gib']} GiB, " if host.get("memory_gib") else ""
    return (
        f"{host['cpu']}, {host['cores']} cores, {memory}{host['platform']}, Python {host['python']}; {versions}; "
        f"commit {host['git_commit'][:12]}{' with local changes' if host['git_dirty'] else ''}. `{settings}`. Load "
        f"before the start: {environment['load_before'][0]:.2f}. Started {environment['started']}."
    )


def failures(records: list[Record]) -> list[str]:
    """One line per failure of a worker."""
    return [
        f"**{name_of(r['label'])} failed during {r['during']}** ({place_name(r)}): {' '.join(r['message'].split())}"
        for r in records
        if r["kind"] == "failure"
    ]
