"""Measures how far float32 errors of the frameworks lie apart: seeds of the small subjects, question by question.

    python -m parity_tests.float32_spread --seeds 30

Decisions are forced to the truth's, as in the tests. Each line of the file is one tensor: stage, part of the model,
and the error of each framework against the truth. What is in the file already is not run again.
"""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from frameworks.arrays import Arrays
from frameworks.judge.compare import compare
from frameworks.judge.decisions import forced_at_every_step, forced_decisions, updates
from frameworks.protocol import Case
from frameworks.shared import kernels
from frameworks.shared.stages import part_of
from frameworks.state.module_paths import module_paths
from parity_tests.cases import subjects
from parity_tests.cases.subjects import Subject
from parity_tests.test_steps import pooled
from parity_tests.traces import TRUTH, Traces, Workers, compared
from reports.record_writer import Record, append_all, keep_records

NAMES = ("tiny", "tiny_bottleneck", "tiny_hgnetv2")
FILE = Path("reports/generated/float32_spread/tensors.jsonl")
Question = tuple[str, Arrays, dict[str, Arrays]]  # label, truth, framework -> its float32 trace


def questions(subject: Subject, traces: Traces, modules: bool) -> Iterator[Question]:
    """The truth and all float32 traces of each question about a subject, ``modules`` alone among them."""
    truth = traces.training(subject, *TRUTH)
    yield "training", truth, {n: traces.training(subject, n, "float32", "cpu", truth) for n in frameworks32()}
    inputs = subject.images()
    yield ask("evaluation", Case("forward", subject.spec), subject, inputs, traces)
    for count in (1, 5):
        case = subjects.steps_case(subject, count)
        label, truth, outputs = ask(f"{count} steps", case, subject, subject.training_inputs(), traces)
        yield label, pooled(truth), {name: pooled(output) for name, output in outputs.items()}
        case = Case("optimizer", subject.spec, steps=count)
        yield ask(f"optimizer, {count} steps", case, subject, subjects.given_gradients(subject, count), traces)
    for module in module_paths(subject.spec.model) if modules else ():
        outputs = {n: traces.replay(subject, module, n, "float32", "cpu") for n in frameworks32()}
        yield module, traces.replay(subject, module, *TRUTH), outputs


def frameworks32() -> tuple[str, ...]:
    """The frameworks that run in float32."""
    return compared("float32", "cpu")


def ask(label: str, case: Case, subject: Subject, inputs: Arrays, traces: Traces) -> Question:
    """One question with the truth's decisions forced, parameters as their changes."""
    truth = traces.run(case, subject, inputs, *TRUTH)
    if case.question == "forward":
        inputs = inputs | {"forced/topk": forced_decisions(truth)["forced/topk"]}
    elif case.question == "steps":
        inputs = inputs | forced_at_every_step(truth, case.steps)
    outputs = traces.run_all(case, subject, inputs, "float32", "cpu")
    changed = {name: updates(output, subject.weights()) for name, output in outputs.items()}
    return label, updates(truth, subject.weights()), changed


def lines(question: Question, subject: Subject, seed: int) -> Iterator[Record]:
    """A line for each floating-point tensor with the errors of all frameworks."""
    label, truth, outputs = question
    modules = module_paths(subject.spec.model)
    found = {name: compare(output, truth, lambda stage, tensor: 1.0, modules) for name, output in outputs.items()}
    for comparisons in zip(*found.values(), strict=True):
        first = comparisons[0]
        if first.limit == 0.0 or first.tensor.startswith("steps/"):
            continue
        module = label if label in modules else first.module
        where = {
            "subject": subject.name,
            "seed": seed,
            "case": label,
            "stage": first.stage,
            "part": part_of(module),
        }
        errors = {name: c.error for name, c in zip(found, comparisons, strict=True)}
        yield where | {"tensor": first.tensor, "size": truth[first.tensor].size, "errors": errors}


def main() -> None:
    """Measure what is not in the file yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--module-seeds", type=int, default=5, help="seeds for which modules run alone too")
    parser.add_argument("--subjects", nargs="*", default=NAMES)
    parser.add_argument("--file", type=Path, default=FILE)
    options = parser.parse_args()
    options.file.parent.mkdir(parents=True, exist_ok=True)
    known = keep_records(options.file, lambda record: True)
    done = {(record["subject"], record["seed"]) for record in known}
    with ExitStack() as stack:
        workers = Workers(stack, {}, False, kernels.choice())
        for seed in range(options.seeds):
            for name in (name for name in options.subjects if (name, seed) not in done):
                subject = replace(subjects.subject(name), seed=f"spread-{seed}")
                traces = Traces(workers)
                asked = questions(subject, traces, modules=seed < options.module_seeds)
                records = [record for question in asked for record in lines(question, subject, seed)]
                append_all(options.file, records)
                print(f"seed {seed}, {name}: {len(records)} tensors", flush=True)


if __name__ == "__main__":
    main()
