"""A synthetic run folder: what experiments/run.py would write, made of formulas instead of a training."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

STEPS_PER_EPOCH = 13
KINDS = {"vfl": 1.0, "bbox": 1.6, "giou": 1.3}
SUFFIXES = ("", "_aux_0", "_aux_1", "_aux_2", "_dn_0", "_dn_1", "_dn_2")
SPEED = {"torch": 2.0, "control1": 2.0, "jittor": 2.6, "numpy": 9.0}


def write_run(
    folder: Path,
    *,
    frameworks: tuple[str, ...] = ("torch", "jittor"),
    epochs: int = 5,
    kind: str = "coco-folder",
    ap: float = 0.0004,
    controls: int = 0,
) -> Path:
    """Write a complete run of `epochs` epochs; `ap` is torch's AP on the training images."""
    folder.mkdir(parents=True, exist_ok=True)
    _json(folder / "run.json", _meta(frameworks, epochs, kind) | {"controls": controls})
    for split in ("train", "val"):
        _json(folder / f"manifest_{split}.json", {"images": [{"id": 1, "file_name": "1.jpg", "sha256": "00"}]})
    entries = [*frameworks, *(f"control{number}" for number in range(1, controls + 1))]
    for name in entries:
        _write_framework(folder / name, name, epochs, ap)
    _write_samples(folder)
    _json(folder / "complete.json", {"frameworks": entries})
    return folder


def loss(framework: str, step: int, kind: str, suffix: str) -> float:
    """The value of one loss term: the others' depart exponentially from torch's, starting at 1e-7."""
    wave = 1 + 0.1 * math.sin(1.7 * step + len(suffix) + KINDS[kind])
    base = KINDS[kind] * wave * (0.4 + math.exp(-step / 30)) * (0.5 if suffix else 1.0)
    if framework == "torch":
        return base
    growth = {"jittor": 1e-7}.get(framework, 1e-6) * (1 + 0.3 * len(suffix)) * math.exp(step / 4.5)
    return base * (1 + min(growth, 0.2) * math.cos(step + len(suffix)))


def losses(framework: str, step: int) -> dict[str, float]:
    """All 21 loss terms of a step."""
    return {f"loss_{kind}{suffix}": loss(framework, step, kind, suffix) for suffix in SUFFIXES for kind in KINDS}


def total(framework: str, step: int) -> float:
    """The total loss of a step."""
    return sum(losses(framework, step).values())


def validation_losses(framework: str, epoch: int) -> dict[str, float]:
    """The terms of the final predictions after an epoch: the others' are 1 % larger per epoch than torch's."""
    share = 1.0 if framework == "torch" else 1.01 ** (epoch + 1)
    return {f"loss_{kind}": share * weight * (1 + math.exp(-epoch / 3)) for kind, weight in KINDS.items()}


def add_validation_losses(folder: Path, every: int = 1) -> None:
    """Add losses to the evaluations of a run, as `--validate-every` does; on the training images half as large."""
    for path in folder.glob("*/evaluation.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            if (row["epoch"] + 1) % every == 0:
                share = 1.0 if row["split"] == "val" else 0.5
                losses = validation_losses(path.parent.name, row["epoch"])
                row["losses"] = {name: share * value for name, value in losses.items()}
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def rewrite(path: Path, change: Any) -> None:
    """Load a JSON file, apply `change` to its value in place, and write it again."""
    value = json.loads(path.read_text())
    change(value)
    _json(path, value)


def _write_framework(folder: Path, name: str, epochs: int, ap: float) -> None:
    folder.mkdir(exist_ok=True)
    steps, rows, evaluations = [], [], []
    for epoch in range(epochs):
        numbers = range(epoch * STEPS_PER_EPOCH, (epoch + 1) * STEPS_PER_EPOCH)
        seconds = [SPEED[name] + 0.01 * (step % 5) + (40.0 if step == 0 else 0) for step in numbers]
        for step, duration in zip(numbers, seconds, strict=True):
            steps.append(
                {
                    "step": step,
                    "epoch": epoch,
                    "losses": losses(name, step),
                    "total": total(name, step),
                    "grad_norm": 30.0 + step,
                    "lr": [1e-4 * min(1, (step + 1) / 20), 1e-5],
                    "seconds": duration,
                    "match_hash": f"{step}" if name == "torch" or step < 30 else f"other {step}",
                }
            )
        mean = sum(total(name, step) for step in numbers) / STEPS_PER_EPOCH
        rows.append(
            {
                "epoch": epoch,
                "seconds": sum(seconds),
                "loss": mean,
                "steps": STEPS_PER_EPOCH,
                "peak_memory_mb": 2000.0 * SPEED[name],
                "first_step_seconds": seconds[0],
            }
        )
        evaluations += [_evaluation(epoch, split, name, ap) for split in ("train", "val")]
    for file, items in (("steps", steps), ("epochs", rows), ("evaluation", evaluations)):
        (folder / f"{file}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    for split, ids in (("train", (11, 12)), ("val", (21, 22))):
        _json(folder / f"predictions_{split}.json", _predictions(name, ids))


def _evaluation(epoch: int, split: str, name: str, ap: float) -> dict[str, Any]:
    value = ap * (epoch + 1) * (1.0 if name == "torch" else 1.02) * (1.0 if split == "train" else 0.5)
    stats = {
        "AP": value,
        "AP50": 2 * value,
        "AP75": value / 2,
        "AP_small": -1.0,
        "AP_medium": value,
        "AP_large": value,
        "AR1": value,
        "AR10": value,
        "AR100": value,
    }
    return {"epoch": epoch, "split": split, "images": 50, "stats": stats, "seconds": 12.0}


def _predictions(name: str, ids: tuple[int, ...]) -> list[dict[str, Any]]:
    random = np.random.default_rng(sum(name.encode()))
    found = []
    for image_id in ids:
        for rank in range(30):
            x, y = random.uniform(0, 400), random.uniform(0, 260)
            w, h = random.uniform(40, 200), random.uniform(40, 180)
            item = {"image_id": image_id, "category_id": int(random.integers(1, 4)), "bbox": [x, y, w, h]}
            found.append(item | {"score": 0.6 - 0.015 * rank + random.uniform(0, 0.01)})
    return found


def _write_samples(folder: Path) -> None:
    images, tensors = [], {}
    for image_id, split in ((11, "train"), (12, "train"), (21, "val"), (22, "val")):
        height, width = (480, 640) if image_id % 2 else (427, 640)
        ramp = np.linspace(90, 220, width)[None, :, None] * np.array([1.0, 0.9, 0.8])
        image = np.broadcast_to(ramp, (height, width, 3)).astype(np.uint8).copy()
        truth = []
        for number, name in enumerate(("person", "dog")):
            x, y, w, h = 60 + 260 * number, 90 + 10 * image_id % 50, 180, 220
            image[y : y + h, x : x + w] = (200, 80, 60) if number else (60, 90, 160)
            truth.append({"category": name, "bbox": [x, y, w, h]})
        tensors[f"image_{image_id}"] = image
        images.append({"image_id": image_id, "split": split, "ground_truth": truth})
    save_file(tensors, folder / "samples.safetensors")
    _json(folder / "samples.json", {"categories": {"1": "person", "2": "dog", "3": "bicycle"}, "images": images})


def _meta(frameworks: tuple[str, ...], epochs: int, kind: str) -> dict[str, Any]:
    flags = {"threads": 2, "deterministic": True}
    versions = {"torch": "2.13.0", "jittor": "1.3.11.0", "numpy": "1.26.4"}
    environment: dict[str, Any] = {
        name: {"python": "3.11.9", "framework_version": versions[name], "numpy": "1.26.4", "flags": flags}
        for name in frameworks
    }
    environment["host"] = {
        "platform": "Linux",
        "cpu": "some | cpu",
        "cores": 2,
        "memory_gib": 8,
        "git_commit": "abc",
    }
    return {
        "schema": 1,
        "command": "python experiments/run.py",
        "created": "2026-01-02T03:04:05Z",
        "preset": "rtdetr_r18vd",
        "spec": {"model": {}},
        "spec_hash": "0123456789abcdef",
        "seed": 7,
        "device": "cpu",
        "image_size": 320,
        "epochs": epochs,
        "batch_size": 4,
        "frameworks": list(frameworks),
        "data": {
            "kind": kind,
            "sentence": "50 images drawn by seed from a folder.",
            "train_images": 50,
            "val_images": 50,
        },
        "parameters": {"trainable_and_frozen": 20184464, "with_running_statistics": 20209749},
        "environment": environment,
        "deviations": ["5 epochs instead of 72", "images of 320 px instead of 640"],
    }


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))
