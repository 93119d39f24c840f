"""Find the weights of a training, a run folder's checkpoint or one by itself, and their spec."""

from dataclasses import dataclass
from pathlib import Path

from experiments.weight_files.readers import file_format
from frameworks import ADAPTERS
from frameworks.config import ExperimentSpec, SpecError, from_dict
from frameworks.config.recorded import read_spec
from frameworks.errors import UserError
from frameworks.files import user_path
from reports.run import files
from reports.run.meta import RunMeta

CHECKPOINTS = {"last": files.CHECKPOINT, "best": files.BEST}


@dataclass(frozen=True)
class Trained:
    """A file of weights; None where nobody says which framework trained it, or with which spec."""

    source: str
    framework: str | None = None
    spec: ExperimentSpec | None = None


def find_trained(source: str, checkpoint: str = "last", framework: str | None = None) -> Trained:
    """What ``source`` names: a run folder, a checkpoint in one or alone, or any file, address or word.

    Args:
        checkpoint: of a run folder, a key of CHECKPOINTS.
        framework: of a run folder, whose checkpoint; None: the first framework of the run that has one.

    Raises:
        UserError: no such checkpoint, a folder that is no run, or a run that cannot be read.
    """
    path = user_path(source)
    if path.is_dir():
        return _of_run(path, RunMeta.read(path / files.META), checkpoint, framework)
    if framework is not None:
        raise UserError(f"--framework {framework}: {source} is no run folder, so there is nothing to choose from")
    trainer = path.parent.name if path.parent.name in ADAPTERS else None
    if not path.is_file() or file_format(path) != "safetensors":
        return Trained(source, trainer)
    return Trained(source, trainer, read_spec(path))


def _of_run(folder: Path, meta: RunMeta, checkpoint: str, framework: str | None) -> Trained:
    name = CHECKPOINTS[checkpoint]
    having = [each for each in meta.frameworks if (folder / each / name).is_file()]
    if framework is not None and framework not in having:
        raise UserError(
            f"{folder / framework / name}: there is no {checkpoint} checkpoint of {framework}; "
            + (f"give one of {', '.join(having)}" if having else "train further first")
        )
    if not having:
        raise UserError(f"{folder}: has no {checkpoint} checkpoint yet; train further first")
    chosen = framework or having[0]
    path = folder / chosen / name
    try:
        spec = read_spec(path) or from_dict(ExperimentSpec, meta.spec)
    except SpecError as error:
        raise UserError(f"{folder / files.META}: its spec is not one of this version ({error})") from None
    return Trained(str(path), chosen if chosen in ADAPTERS else None, spec)
