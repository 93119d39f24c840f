"""Thin sessions: each one installs the project and runs one command that also works without nox."""

import nox

nox.options.sessions = ["lint", "unit", "parity"]
nox.options.error_on_missing_interpreters = True

TOOLCHAIN = "frameworks/jittor_rtdetr/runtime/toolchain.py"  # one line, at once, without g++ or Python's headers


@nox.session
def parity(session: nox.Session) -> None:
    """Compare the twins with each other and with the official code; ends with a table and a page.

    On two cores about 33 minutes the first time, then about 30: at first Jittor compiles.
    """
    session.run("python", TOOLCHAIN)
    session.install("-e", ".[huggingface,onnx]")
    session.run("pytest", "parity_tests", "-m", "not zoo", *session.posargs)


@nox.session
def parity_zoo(session: nox.Session) -> None:
    """Compare every preset and every file of the oracle: about an hour on two cores, 16 GB of memory."""
    session.run("python", TOOLCHAIN)
    session.install("-e", ".[huggingface,onnx]")
    records = ["--records", "reports/generated/parity_zoo"]
    session.run("pytest", "parity_tests", "-m", "zoo", *records, *session.posargs)


@nox.session
def float32_spread(session: nox.Session) -> None:
    """Measure how far float32 errors lie apart over 30 seeds, resumably: about an hour on two cores."""
    session.install("-e", ".[huggingface]")
    session.run("python", "-m", "parity_tests.float32_spread", *session.posargs)


@nox.session
def unit(session: nox.Session) -> None:
    """Everything around the models: spec, data, workers, runs, reports, Jittor's environment."""
    session.install("-e", ".[huggingface,onnx]")
    session.run("pytest", "frameworks", "experiments", "reports", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Plant the porting faults of the catalogue one at a time, and count those that no parity test finds: hours.

    It goes on where it was stopped: nox -s mutants -- --in torch --until "other kernels".
    """
    session.install("-e", ".[huggingface]")
    session.run("python", "-m", "parity_tests.mutants", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting, style, types, the direction of imports, dead code and spelling."""
    session.install("-e", ".[lint,huggingface,onnx]")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("pyright")
    session.run("lint-imports", "--no-logo")
    session.run("vulture")
    session.run("codespell")


@nox.session
def experiment(session: nox.Session) -> None:
    """The main job, with its arguments: nox -s experiment -- --subset 50."""
    session.run("python", TOOLCHAIN)
    session.install("-e", ".")
    session.run("python", "experiments/run.py", *(session.posargs or ["--subset", "50"]))


@nox.session
def resume(session: nox.Session) -> None:
    """Kill a run of each framework 50 times, in every phase, and resume it; goes on where it stopped: 30 min."""
    session.install("-e", ".")
    session.run("python", "-m", "experiments.tests.killed_runs", *session.posargs)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Time both twins and Hugging Face's, and write docs/speed.md: about 50 minutes on two cores, alone on them."""
    session.install("-e", ".[huggingface]")
    session.run("python", "experiments/benchmark.py", "--publish", *session.posargs)


@nox.session
def memory(session: nox.Session) -> None:
    """Train 2,200 steps in each framework and plot their memory; fails if it grows by over 2 %: 10 minutes."""
    session.install("-e", ".")
    session.run("python", "-m", "experiments.benchmarks.memory", *session.posargs)


@nox.session
def clean_runs(session: nox.Session) -> None:
    """Judge 1,000 random models, in which nothing may be found; goes on where it stopped: hours on two cores."""
    session.install("-e", ".")
    session.run("python", "-m", "parity_tests.clean_runs", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Give changed files to every reader and malformed ones to every command; one line each: half an hour."""
    session.install("-e", ".")
    session.run("python", "-m", "experiments.tests.fuzz", *session.posargs)
    session.run("python", "-m", "experiments.tests.malformed")


@nox.session
def operators(session: nox.Session) -> None:
    """Compare Jittor's operators with PyTorch's and a truth, edge inputs too; goes on where it stopped: an hour."""
    session.install("-e", ".")
    session.run("python", "-m", "parity_tests.operators", *session.posargs)


@nox.session
def lockstep(session: nox.Session) -> None:
    """Train both twins side by side, beside perturbed runs of each; goes on where it stopped: an hour."""
    session.install("-e", ".")
    session.run("python", "-m", "experiments.lockstep", *session.posargs)


@nox.session
def parity_gpu(session: nox.Session) -> None:
    """All of parity on a machine with a GPU, beside its CPU; the page goes to reports/gpu, to be committed.

    Without a GPU that every framework can use it ends with one line, because skipped tests prove nothing.
    """
    session.install("-e", ".[huggingface,onnx]")
    session.run("python", "-m", "parity_tests.require_gpu")
    records = "reports/generated/parity_gpu"
    options = ["-m", "not zoo", "--records", records, *session.posargs]
    session.run("pytest", "parity_tests", *options, success_codes=[0, 1])  # the page shows failures, and fails then
    session.run("python", "-m", "reports.gpu_page", f"{records}/records.jsonl", "reports/gpu")
