"""Prepare a new run: check everything, then fill its folder; run.json is written last and makes it a run."""

import sys
import time
from pathlib import Path
from typing import Any

from experiments.data.files import file_hash
from experiments.data.source import Source
from experiments.runs.board import require_tensorboard
from experiments.runs.budget import resolve_spec
from experiments.runs.data import RunData, choose_data, write_manifests, write_samples
from experiments.runs.deviations import deviations
from experiments.runs.folder import Run, require_room
from experiments.runs.host import GENERATED, host_record, now
from experiments.runs.options import Options
from experiments.weight_files.initial import starting_weights
from frameworks.arrays import Arrays, save_arrays
from frameworks.config import ExperimentSpec, load_spec, load_with_account, spec_hash, to_dict
from frameworks.errors import UserError
from frameworks.shared import kernels
from frameworks.state.initialisation import initial_weights
from frameworks.state.parameters import model_facts
from reports.run import files
from reports.run.meta import DataMeta, ParameterCounts, RunMeta


def spec_of(options: Options) -> ExperimentSpec:
    """The resolved spec of a run. Raises SpecError or UserError if it cannot be trained."""
    loaded = load_with_account(options.preset)
    if loaded.left_aside:
        show = f"python experiments/spec.py show {options.preset}"
        print(f"{len(loaded.left_aside)} keys of {options.preset} are left aside; to see why: {show}", flush=True)
    return resolve_spec(
        loaded.spec,
        options.device,
        subset=options.subset or sys.maxsize,  # ``prepare`` holds the batch to all images
        epochs=options.epochs,
        image_size=options.image_size,
        batch_size=options.batch_size,
    )


def folder_of(options: Options) -> Path:
    """The folder of --out, or a new one named after preset, subset, seed and time."""
    if options.out is not None:
        return options.out.absolute()
    images = f"subset{options.subset}" if options.subset else "all"
    name = f"{Path(options.preset).stem}-{images}-seed{options.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    return GENERATED / name


def prepare(options: Options, spec: ExperimentSpec, folder: Path, command: str) -> Run:
    """Fill the claimed `folder` with manifests, samples, initial weights and run.json, which records `command`.

    Raises:
        UserError: data or weights are missing, broken or of another model, or the disk is too full.
    """
    if options.monitoring.tensorboard:
        require_tensorboard()
    kept = options.monitoring.kept_checkpoints(spec.recipe.epochs)
    require_room(folder, model_facts(spec.model), len(options.frameworks), kept)
    weights, origin = _weights(options, spec)
    source, data = choose_data(options.data, subset=options.subset, seed=options.seed)
    print(f"data: {source.sentence}", flush=True)
    if (images := len(data["train"].ids)) < spec.data.batch_size:
        raise UserError(f"{images} training images fill no batch of {spec.data.batch_size}; lower --batch-size")
    write_manifests(folder, data, kind=source.kind, seed=options.seed)
    write_samples(folder, data)
    initial = folder / files.INITIAL
    save_arrays(initial, weights, {"spec_hash": spec_hash(spec), "seed": str(options.seed)})
    meta = _meta(options, spec, source, data)
    meta.command, meta.monitoring = command, options.monitoring.record()
    meta.weights, meta.initial_sha256 = origin, file_hash(initial)
    meta.deviations = deviations(load_spec(options.preset), spec, len(data["train"].ids), origin)
    run = Run(folder, meta, spec, data)
    run.write_meta()
    return run


def _weights(options: Options, spec: ExperimentSpec) -> tuple[Arrays, dict[str, Any] | None]:
    """Initial weights of every framework, and the record of their file; None if drawn from the seed."""
    if options.weights is None:
        return initial_weights(spec.model, options.seed), None
    weights, origin = starting_weights(options.weights, spec, seed=options.seed, partial=options.partial_weights)
    drawn = f", {origin['drawn_from_seed']} tensors drawn from the seed" if origin["drawn_from_seed"] else ""
    print(f"weights: {origin['path']} ({origin['matched']} tensors{drawn})", flush=True)
    return weights, origin


def _meta(options: Options, spec: ExperimentSpec, source: Source, data: RunData) -> RunMeta:
    facts = model_facts(spec.model)
    return RunMeta(
        created=now(),
        preset=options.preset,
        spec=to_dict(spec),
        spec_hash=spec_hash(spec),
        seed=options.seed,
        device=options.device,
        image_size=spec.data.image_size[0],
        epochs=spec.recipe.epochs,
        batch_size=spec.data.batch_size,
        frameworks=list(options.frameworks),
        pythons=options.pythons,
        in_process=options.in_process,
        data=DataMeta(
            kind=source.kind,
            sentence=source.sentence,
            root=str(source.root.absolute()),
            train_images=len(data["train"].ids),
            val_images=len(data["val"].ids),
        ),
        parameters=ParameterCounts(
            trainable_and_frozen=facts.parameters,
            with_running_statistics=facts.with_running_statistics,
        ),
        environment={"host": host_record(), "kernels": options.kernels or kernels.choice()},
    )
