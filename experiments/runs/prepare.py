"""Prepare a new run: check everything, then fill its folder; run.json is written last and makes it a run."""

import time
from pathlib import Path

from experiments.data.account import SplitAccount, between_lines, short_lines
from experiments.data.source import Source
from experiments.runs.board import require_tensorboard
from experiments.runs.classes import classes_line, with_classes
from experiments.runs.data import (
    RunData,
    account_for,
    choose_data,
    require_images,
    write_manifests,
    write_samples,
)
from experiments.runs.deviations import deviations
from experiments.runs.folder import Run, require_room
from experiments.runs.host import GENERATED, host_record, now
from experiments.runs.options import Options
from experiments.runs.recipe import Resolved, resolve
from experiments.weight_files.initial import log, said, starting_state
from frameworks.arrays import save_arrays
from frameworks.config import ExperimentSpec, load_with_account, spec_hash, to_dict
from frameworks.errors import UserError
from frameworks.files import file_hash, write_atomically
from frameworks.shared import kernels
from frameworks.state.parameters import model_facts
from reports.run import files
from reports.run.meta import DataMeta, ParameterCounts, RunMeta


def spec_of(options: Options) -> Resolved:
    """The resolved spec of a run, said in one line. Raises SpecError or UserError if it cannot be trained."""
    loaded = load_with_account(options.preset)
    if loaded.left_aside:
        show = f"python experiments/spec.py show {options.preset}"
        print(f"{len(loaded.left_aside)} keys of {options.preset} are left aside; to see why: {show}", flush=True)
    resolved = resolve(options, loaded)
    print(f"recipe: {resolved.sentence}", flush=True)
    return resolved


def folder_of(options: Options) -> Path:
    """The folder of --out, or a new one named after preset, subset, seed and time."""
    if options.out is not None:
        return options.out.absolute()
    images = f"subset{options.subset}" if options.subset else "all"
    name = f"{Path(options.preset).stem}-{images}-seed{options.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    return GENERATED / name


def prepare(options: Options, resolved: Resolved, folder: Path, command: str) -> Run:
    """Fill the claimed `folder` with manifests, samples, initial weights and run.json, which records `command`.

    Raises:
        UserError: data or weights are missing, broken or of another model, or the disk is too full.
    """
    if options.monitoring.tensorboard:
        require_tensorboard()
    source, data, accounts, spec = _data(options, resolved.spec)
    if (images := len(data["train"].ids)) < spec.data.batch_size:
        raise UserError(f"{images} training images fill no batch of {spec.data.batch_size}; lower --batch-size")
    kept = options.monitoring.kept_checkpoints(spec.recipe.epochs)
    require_room(folder, model_facts(spec.model), len(options.frameworks) + options.trained_controls, kept)
    weights, origin = starting_state(
        spec,
        seed=options.seed,
        weights=options.weights,
        partial=options.partial_weights,
        backbone=options.backbone,
        without_backbone=options.without_backbone,
    )
    if origin:
        write_atomically(folder / files.WEIGHTS_LOG, log(origin))
        print("\n".join(said(origin)), flush=True)
    write_manifests(folder, data, kind=source.kind, seed=options.seed)
    write_samples(folder, data)
    initial = folder / files.INITIAL
    save_arrays(initial, weights, {"spec_hash": spec_hash(spec), "seed": str(options.seed)})
    meta = _meta(options, spec, source, data)
    meta.data.account = {each.split: each.to_dict() for each in accounts}
    meta.command, meta.monitoring = command, options.monitoring.record()
    meta.weights, meta.initial_sha256 = origin, file_hash(initial)
    meta.recipe = resolved.sentence
    meta.deviations = deviations(resolved.official, spec, len(data["train"].ids), origin)
    run = Run(folder, meta, spec, data)
    run.write_meta()
    return run


def _data(options: Options, spec: ExperimentSpec) -> tuple[Source, RunData, list[SplitAccount], ExperimentSpec]:
    """The chosen images with their account, which is printed, and the spec with their classes."""
    names = spec.data.categories
    source, data = choose_data(options.data, subset=options.subset, seed=options.seed, class_names=names)
    classes = data["train"].split.classes
    print(f"data: {source.sentence}\n{classes_line(classes)}", flush=True)
    spec = with_classes(spec, options.preset, source, classes, options.update)
    accounts = account_for(data, spec.data)
    lines = [line for each in accounts for line in short_lines(each)] + between_lines(*accounts)
    print("\n".join(lines), flush=True)
    require_images(data)
    return source, data, accounts, spec


def _meta(options: Options, spec: ExperimentSpec, source: Source, data: RunData) -> RunMeta:
    facts, (height, width) = model_facts(spec.model), spec.data.image_size
    return RunMeta(
        created=now(),
        preset=options.preset,
        spec=to_dict(spec),
        spec_hash=spec_hash(spec),
        seed=options.seed,
        device=options.device,
        image_size=height if height == width else [height, width],
        epochs=spec.recipe.epochs,
        batch_size=spec.data.batch_size,
        frameworks=list(options.frameworks),
        pythons=options.pythons,
        in_process=options.in_process,
        controls=options.trained_controls,
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
