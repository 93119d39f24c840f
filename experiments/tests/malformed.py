"""Give every command files that are not what it expects: 400 cases, each in a process of its own.

    python -m experiments.tests.malformed --only detect

Each has to end with an exit status of its own, one line on stderr, within 20 s and 2 GB, and to leave no
file behind or changed. Exit status 1 if one does not.
"""

import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from experiments.command import COMPLETE, FAILED, Parser, end_on_signals, run_command
from experiments.progress import Progress
from experiments.tests.data_sets import shapes
from experiments.tests.runs import TORCH, run
from frameworks.config import dump_yaml, preset

ROOT = Path(__file__).resolve().parents[2]
MOST_SECONDS, MOST_BYTES = 20, 2 * 10**9
RUN, DATA, SPEC, MODEL = "run", "data", "spec.yaml", "model.safetensors"


# kind -> content, from the content that belongs there
CONTENTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda original: b"",
    "blanks": lambda original: b" \n\n ",
    "half": lambda original: original[: len(original) // 2],  # as an interrupted copy leaves it
    "noise": lambda original: random.Random(0).randbytes(5000),
    "zeros": lambda original: bytes(5000),
    "text": lambda original: "<html>404 页面不存在</html>\n".encode(),
    "deep": lambda original: b"[" * 100_000,
    "number": lambda original: b"9" * 5000,
    "not utf-8": lambda original: b"name: \xff\xfe\n" + original,
}
# kind -> what stands in the file's place
THINGS: dict[str, Callable[[Path], None]] = {
    "missing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a pipe": lambda path: os.mkfifo(path),
}


@dataclass(frozen=True)
class Target:
    """A file that a command reads: where it lies in the workspace, and the command line."""

    file: str
    command: tuple[str, ...]


def _experiment(name: str, *arguments: str) -> tuple[str, ...]:
    return (str(ROOT / f"experiments/{name}.py"), *arguments)


def _started(*arguments: str) -> tuple[str, ...]:
    size = ("--subset", "4", "--epochs", "1", "--image-size", "64")
    return _experiment(
        "run", "-c", "tiny", "--data", DATA, "--frameworks", "torch", *size, "--out", "new", *arguments
    )


_GO_ON = _experiment("run", "--resume", RUN, "--epochs", "2")
TARGETS: dict[str, Target] = {
    **{
        f"weights inspect {suffix}": Target(f"file.{suffix}", _experiment("weights", "inspect", f"file.{suffix}"))
        for suffix in ("safetensors", "pth", "pkl", "npz")
    },
    "weights convert": Target("file.pth", _experiment("weights", "convert", "file.pth", "new.safetensors")),
    "weights verify": Target(MODEL, _experiment("weights", "verify", MODEL, "--preset", "tiny")),
    "weights export": Target(MODEL, _experiment("weights", "export", MODEL, "new.onnx", "--preset", "tiny")),
    "spec show": Target(SPEC, _experiment("spec", "show", SPEC)),
    "run, spec": Target(SPEC, _started("-c", SPEC)),
    "run, recipe": Target("recipe.yaml", _started("--recipe", "recipe.yaml")),
    "run, weights": Target(MODEL, _started("--weights", MODEL)),
    "run, backbone": Target("file.pth", _started("--backbone", "file.pth")),
    "run, annotations": Target(f"{DATA}/annotations/instances_train2017.json", _started()),
    "run, image": Target(f"{DATA}/train2017/IMAGE", _started()),
    "resume, run.json": Target(f"{RUN}/run.json", _GO_ON),
    "resume, checkpoint": Target(f"{RUN}/torch/checkpoint.safetensors", _GO_ON),
    "resume, weights": Target(f"{RUN}/initial.safetensors", _GO_ON),
    "resume, manifest": Target(f"{RUN}/manifest_train.json", _GO_ON),
    "evaluate": Target(MODEL, _experiment("evaluate", MODEL, "-c", "tiny", "--data", DATA, "--out", "new")),
    "evaluate, run.json": Target(f"{RUN}/run.json", _experiment("evaluate", RUN, "--data", DATA, "--out", "new")),
    "detect, model": Target(MODEL, _experiment("detect", MODEL, "photo.png", "-c", "tiny", "--framework", "torch")),
    "detect, image": Target(
        "photo.png", _experiment("detect", MODEL, "photo.png", "-c", "tiny", "--framework", "torch")
    ),
    "benchmark": Target(SPEC, _experiment("benchmark", "--preset", SPEC, "--frameworks", "torch", "--out", "new")),
    "costs": Target(SPEC, _experiment("costs", "--preset", SPEC, "--frameworks", "torch", "--out", "new")),
    "costs, run.json": Target(f"{RUN}/run.json", _experiment("costs", "--run", RUN, "--out", "new")),
    "diagnose, weights": Target(
        MODEL,
        _experiment(
            "diagnose", "--left", "torch", "--right", "torch", "--spec", "tiny", "--weights", MODEL, "--out", "new"
        ),
    ),
    "reports.build, run.json": Target(f"{RUN}/run.json", ("-m", "reports.build", RUN)),
    "reports.build, evaluation": Target(f"{RUN}/torch/evaluation.jsonl", ("-m", "reports.build", RUN)),
    "reports.build, predictions": Target(f"{RUN}/torch/predictions_val.json", ("-m", "reports.build", RUN)),
    "reports.compare": Target(f"{RUN}/run.json", ("-m", "reports.compare", RUN, RUN, "--out", "new")),
    "runs show": Target(f"{RUN}/run.json", _experiment("runs", "show", RUN)),
}
# What is no error: a run that was not evaluated yet, or whose last line was cut off, is reported as far as it went;
# without a checkpoint training starts again.
ACCEPTED = {
    "resume, checkpoint": ("missing", "a link to itself"),
    "reports.build, evaluation": ("empty", "blanks", "half", "zeros", "missing", "a link to itself"),
    "reports.build, predictions": ("missing", "a link to itself"),
}


@dataclass(frozen=True)
class Outcome:
    """What a command did with a case; ``wrong`` says in words what should not have been."""

    wrong: tuple[str, ...]
    said: str


def cases(only: str) -> Iterator[tuple[str, str]]:
    """Names of targets and of kinds, those of a target that has ``only`` in its name."""
    for name in TARGETS:
        if only in name:
            yield from ((name, kind) for kind in (*CONTENTS, *THINGS) if kind not in ACCEPTED.get(name, ()))


def prepare(folder: Path) -> None:
    """Everything that the commands need, valid: data, a finished run, weights, a spec and an image."""
    shapes(folder / "made", train=4, val=2).rename(folder / DATA)
    (folder / "made").rmdir()
    status = run(folder / DATA, folder / RUN, *TORCH, "--controls", "0", subset=4, epochs=1)
    assert status == COMPLETE, "the run that the cases damage could not be made"
    for name in (MODEL, "file.safetensors"):
        shutil.copy(folder / RUN / "torch/best.safetensors", folder / name)
    for suffix in ("pth", "pkl"):
        convert = _experiment("weights", "convert", MODEL, f"file.{suffix}", "--preset", "tiny")
        subprocess.run([sys.executable, *convert], cwd=folder, check=True, capture_output=True)
    shutil.copy(folder / "file.pth", folder / "file.npz")
    (folder / SPEC).write_text(dump_yaml(preset("tiny")))
    (folder / "recipe.yaml").write_text("epochs: 2\n")
    photo = min((folder / DATA / "train2017").iterdir())
    shutil.copy(photo, folder / "photo.png")


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file, and every folder."""
    return {
        str(path.relative_to(folder)): (status.st_size, status.st_mtime_ns if path.is_file() else 0)
        for path in sorted(folder.rglob("*"))
        for status in [path.lstat()]
        if path.name != ".lock"
    }


@contextmanager
def damaged(path: Path, kind: str) -> Iterator[None]:
    """Put what ``kind`` names in the place of a file, for the block."""
    original = path.read_bytes()
    kept = path.with_name(f"{path.name}.kept")
    path.rename(kept)
    try:
        if kind in CONTENTS:
            path.write_bytes(CONTENTS[kind](original))
        else:
            THINGS[kind](path)
        yield
    finally:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        kept.rename(path)


def examine(folder: Path, target: Target, kind: str) -> Outcome:
    """Run a command on a damaged file."""
    file = target.file.replace("IMAGE", min(path.name for path in (folder / DATA / "train2017").iterdir()))
    with damaged(folder / file, kind):
        before = tree(folder)
        process = subprocess.Popen(
            [sys.executable, *target.command],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            said, late = process.communicate(timeout=MOST_SECONDS)[1], False
        except subprocess.TimeoutExpired:
            process.kill()
            said, late = process.communicate()[1], True
        after = tree(folder)
        for path in set(after) - set(before):
            made = folder / path
            shutil.rmtree(made, ignore_errors=True) if made.is_dir() else made.unlink(missing_ok=True)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    lines = said.splitlines()
    findings = {
        f"took over {MOST_SECONDS} s": late,
        f"exit status {process.returncode}": not late and process.returncode not in (1, 2),
        f"{len(lines)} lines on stderr": not late and len(lines) != 1,
        "a traceback": "Traceback" in said,
        f"files changed: {', '.join(changed[:3])}": bool(changed),
    }
    return Outcome(tuple(what for what, is_so in findings.items() if is_so), lines[-1] if lines else "")


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    return run_command(lambda: start(arguments))


def start(arguments: list[str] | None) -> int:
    """Examine every case and print the findings. Raises UserError for wrong arguments."""
    parser = Parser(prog="python -m experiments.tests.malformed", description=__doc__)
    parser.add_argument("--only", default="", help="targets with this text in their names")
    chosen = list(cases(parser.parse_args(arguments).only))
    failed = 0
    with tempfile.TemporaryDirectory() as name, Progress("malformed files", len(chosen), unit="case") as progress:
        folder = Path(name).resolve()
        prepare(folder)
        for target, kind in chosen:
            outcome = examine(folder, TARGETS[target], kind)
            progress.advance(waiting=f"{target}: {kind}")
            if outcome.wrong:
                failed += 1
                print(f"{target}: {kind}: {'; '.join(outcome.wrong)}: {outcome.said[:200]}", flush=True)
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"{len(chosen)} cases, {failed} of them wrong; the largest command took {largest / 1e9:.2f} GB")
    return FAILED if failed or largest > MOST_BYTES else COMPLETE


if __name__ == "__main__":
    end_on_signals()
    sys.exit(main())
