"""Weights in and out: python experiments/weights.py {convert,inject-backbone,inspect,verify} --help.

Files of weights are told by their content: .pth (official checkpoints), .safetensors (canonical or Hugging Face's
names), .pkl (Jittor), .npz. Exit status: 0, or 2 with one line on stderr.
"""

import sys
from argparse import Namespace
from collections import Counter
from pathlib import Path

if __package__ in (None, ""):  # started as a file: Python put experiments/ on the path, not the checkout
    _HERE = Path(__file__).resolve().parent
    sys.path[:] = [str(_HERE.parent), *(entry for entry in sys.path if Path(entry).resolve() != _HERE)]

from experiments.weight_files.account import best_presets, fit, not_finite
from experiments.weight_files.arguments import parse_arguments
from experiments.weight_files.computed_entries import is_constant
from experiments.weight_files.inject import read_backbone
from experiments.weight_files.names import is_hugging_face
from experiments.weight_files.readers import WeightFile, read_weights
from experiments.weight_files.sources import Loaded, load_weights, open_source
from experiments.weight_files.verify import differences, forward_difference
from experiments.weight_files.writers import target_format, write_weights
from frameworks.config import ExperimentSpec, preset
from frameworks.errors import UserError
from frameworks.shared.tolerances import SAME_PREDICTIONS

WRONG = 2


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    try:
        given = parse_arguments(sys.argv[1:] if arguments is None else arguments)
        COMMANDS[given.command](given)
        return 0
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def convert(given: Namespace) -> None:
    """Read in one format, write in another; strict, unless --partial."""
    target = target_format(given.out, given.to, force=given.force)
    file = open_source(given.source, given.preset, trust=given.trust, ema=not given.no_ema)
    loaded = load_weights(file, _asked(given), partial=given.partial, advice="; --partial takes what fits")
    print("\n".join([_what(file), f"preset             {loaded.spec.name}", *loaded.account.lines()]))
    _write(given.out, loaded, target)


def inject_backbone(given: Namespace) -> None:
    """Backbone weights from elsewhere, into a whole checkpoint or as one of the backbone alone."""
    target = target_format(given.out, given.to, force=given.force)
    if target == "hf" and given.tuning:
        raise UserError("--to hf writes whole models; a backbone alone needs another format")
    spec = preset(given.preset)
    source = read_weights(given.backbone, trust=given.trust, ema=not given.no_ema)
    reading = read_backbone(
        source.arrays, spec.model, stages=given.stages, prefix=given.prefix, rules_file=given.map
    )
    print(_what(source))
    print(f"read as            {reading.naming}" + (f" below {reading.prefix!r}" if reading.prefix else ""))
    print("\n".join(reading.account.lines()))
    if reading.folded:
        print(f"folded norms       {reading.folded} restored from the biases of convolutions")
    if reading.naming == "torchvision":
        print("note               a shortcut of PResNet-vd pools first, one of torchvision's ResNet strides")
    if reading.account.missing or reading.account.mismatched:
        _require_partial(given.partial, f"{given.backbone}: {reading.account.summary()}")
    weights, constants = reading.weights, {}
    if not given.tuning:
        base = load_weights(read_weights(given.into, trust=given.trust, ema=not given.no_ema), spec)
        weights, constants = base.weights | weights, base.constants
    write_weights(given.out, weights | constants, spec, target, complete=not given.tuning)
    print(f"wrote              {given.out} ({'backbone alone' if given.tuning else 'whole checkpoint'})")


def inspect(given: Namespace) -> None:
    """What a file is and which preset it fits."""
    file = open_source(given.source, given.preset, trust=given.trust, ema=not given.no_ema)
    arrays = file.arrays
    bad = {name: not_finite(array) for name, array in arrays.items() if not is_constant(name)}
    print(_what(file))
    print(f"names              {'Hugging Face' if is_hugging_face(arrays) else 'canonical or unknown'}")
    print(f"tensors            {len(arrays)}, {sum(array.size for array in arrays.values()):,} numbers")
    print(f"dtypes             {_dtypes(file.dtypes)}")
    print(f"NaN or infinite    {sum(bad.values())} numbers in {sum(map(bool, bad.values()))} tensors")
    names, account = (
        ([given.preset], fit(arrays, preset(given.preset).model)[1]) if given.preset else best_presets(arrays)
    )
    if account is None:
        print("best preset        none: its names are those of no preset")
        return
    print(f"best preset        {' or '.join(names)} ({'exact' if account.complete else 'not exact'})")
    print("\n".join(account.lines()))


def verify(given: Namespace) -> None:
    """Names, shapes and finite numbers; on request the same bits as another file, and the twins' agreement."""
    file = open_source(given.source, given.preset, trust=given.trust, ema=not given.no_ema)
    loaded = load_weights(file, _asked(given))
    print(f"{file.path}: {loaded.account.summary()}, all finite: a whole {loaded.spec.name}")
    if given.against:
        other = open_source(given.against, given.preset, trust=given.trust)
        _compare(loaded, load_weights(other, _asked(given)))
    if given.forward:
        side, worst = forward_difference(loaded.spec, loaded.weights)
        if not worst <= SAME_PREDICTIONS:
            raise UserError(f"the twins differ by {worst:.2e} on one {side} px image; at most {SAME_PREDICTIONS:g}")
        print(f"the twins agree on one {side} px image: {worst:.2e} relative, float64 (limit {SAME_PREDICTIONS:g})")


def _asked(given: Namespace) -> ExperimentSpec | None:
    """The preset that was named; None: the one that fits."""
    return None if given.preset is None else preset(given.preset)


def _compare(a: Loaded, b: Loaded) -> None:
    shared = a.constants.keys() & b.constants.keys()  # not every format has them
    found = differences(a.weights | {name: a.constants[name] for name in sorted(shared)}, b.weights | b.constants)
    print(f"{'group':<34} {'tensors':>7} {'same bits':>9} {'worst |a - b|':>13}")
    for each in found:
        name = "" if each.identical == each.tensors else f"  {each.name}"
        print(f"{each.group:<34} {each.tensors:>7} {each.identical:>9} {each.worst:>13.3g}{name}")
    differ = sum(each.tensors - each.identical for each in found)
    if differ:
        raise UserError(f"{a.file.path} and {b.file.path} differ in {differ} tensors")


def _write(path: Path, loaded: Loaded, target: str) -> None:
    weights = loaded.weights | loaded.constants
    write_weights(path, weights, loaded.spec, target, complete=not loaded.account.missing)
    print(f"wrote              {path} ({target}, {path.stat().st_size / 2**20:.1f} MB)")


def _require_partial(partial: bool, what: str) -> None:
    if not partial:
        raise UserError(f"{what}; choose parts with --stages, or take what fits with --partial")


def _what(file: WeightFile) -> str:
    return f"file               {file.path} ({file.format}, {file.form})"


def _dtypes(found: Counter[str]) -> str:
    half = {"float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"} & found.keys()
    text = ", ".join(f"{name} {count}" for name, count in found.most_common())
    return text + (" (half precision is widened to float32, exactly)" if half else "")


COMMANDS = {"convert": convert, "inject-backbone": inject_backbone, "inspect": inspect, "verify": verify}


if __name__ == "__main__":
    sys.exit(main())
