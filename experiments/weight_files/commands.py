"""The commands of experiments/weights.py. Each reads files, prints what it found, and raises UserError.

The format of a file is found from its content: .pth (official checkpoints), .safetensors (official or Hugging
Face's names), .pkl (Jittor) and .npz.
"""

from argparse import Namespace
from collections import Counter

from experiments.command import COMPLETE
from experiments.weight_files.account import best_presets, fit, not_finite
from experiments.weight_files.arguments import parse_arguments
from experiments.weight_files.computed_entries import is_constant
from experiments.weight_files.inject import read_backbone
from experiments.weight_files.names import is_huggingface, unwrapped
from experiments.weight_files.onnx_file import export
from experiments.weight_files.readers import WeightFile
from experiments.weight_files.sources import Loaded, load_weights, open_backbone, open_source
from experiments.weight_files.verify import differences, forward_differences
from experiments.weight_files.writers import target_format, write_weights
from frameworks import REFERENCE
from frameworks.config import ExperimentSpec, load_spec
from frameworks.errors import UserError
from frameworks.shared.tolerances import SAME_PREDICTIONS


def start(arguments: list[str] | None) -> int:
    """Parse a command line and run its command; returns the exit status. Raises UserError if either fails."""
    given = parse_arguments(arguments)
    COMMANDS[given.command](given)
    return COMPLETE


def convert(given: Namespace) -> None:
    """Read a file and write it in another format; strict, unless --partial.

    Raises:
        UserError: as ``open_source``, ``load_weights`` and ``write_weights``.
    """
    target = target_format(given.out, given.to, force=given.force)
    file = _open(given)
    loaded = load_weights(
        file,
        _named_preset(given),
        partial=given.partial,
        without_backbone=given.without_backbone,
        advice="; --partial takes what fits",
    )
    print("\n".join([_file_line(file), f"preset             {loaded.spec.name}", *loaded.account.lines()]))
    complete = not loaded.account.missing
    write_weights(given.out, loaded.weights | loaded.constants, loaded.spec, target, complete=complete)
    without = "".join(f", WITHOUT its {part}" for part in loaded.account.absent_parts())
    print(f"wrote              {given.out} ({target}, {given.out.stat().st_size / 2**20:.1f} MB{without})")


def inject_backbone(given: Namespace) -> None:
    """Write backbone weights from another file into a whole checkpoint, or alone.

    Raises:
        UserError: as ``open_backbone``, ``read_backbone`` and ``write_weights``; or a tensor is missing without
            --partial.
    """
    target = target_format(given.out, given.to, force=given.force)
    if target == "hf" and given.tuning:
        raise UserError("--to hf writes whole models; a backbone alone needs another format")
    spec = load_spec(given.preset)
    source = open_backbone(given.backbone, spec, trust=given.trust, ema=not given.no_ema)
    reading = read_backbone(
        source.arrays,
        spec.model,
        path=source.path,
        stages=given.stages,
        prefix=given.prefix,
        rules_file=given.map,
    )
    print(_file_line(source))
    print(f"read as            {reading.naming}" + (f" below {reading.prefix!r}" if reading.prefix else ""))
    print("\n".join(reading.account.lines()))
    if reading.folded:
        print(f"folded norms       {reading.folded} restored from the biases of convolutions")
    if reading.note:
        print(f"note               {reading.note}")
    if not given.partial and (reading.account.missing or reading.account.mismatched):
        advice = "choose parts with --stages, or take what fits with --partial"
        raise UserError(f"{source.path}: {reading.account.summary()}; {advice}")
    weights, constants = reading.weights, {}
    if not given.tuning:
        base = load_weights(open_source(given.into, spec, trust=given.trust, ema=not given.no_ema), spec)
        weights, constants = base.weights | weights, base.constants
    write_weights(given.out, weights | constants, spec, target, complete=not given.tuning)
    print(f"wrote              {given.out} ({'backbone alone' if given.tuning else 'whole checkpoint'})")


def inspect(given: Namespace) -> None:
    """Print what a file contains and which preset it fits. Raises UserError as ``open_source``."""
    file = _open(given)
    arrays = file.arrays
    bad = {name: not_finite(array) for name, array in arrays.items() if not is_constant(name)}
    print(_file_line(file))
    print(f"names              {'Hugging Face' if is_huggingface(unwrapped(arrays)) else 'canonical or unknown'}")
    print(f"tensors            {len(arrays)}, {sum(array.size for array in arrays.values()):,} numbers")
    print(f"dtypes             {_dtypes(file.dtypes)}")
    print(f"NaN or infinite    {sum(bad.values())} numbers in {sum(map(bool, bad.values()))} tensors")
    if spec := _named_preset(given):
        names, account = [spec.name], fit(arrays, spec.model)[1]
    else:
        names, account = best_presets(arrays)
    if account is None:
        print("best preset        none: its names are those of no preset")
        return
    print(f"best preset        {' or '.join(names)} ({'exact' if account.complete else 'not exact'})")
    print("\n".join(account.lines()))


def verify(given: Namespace) -> None:
    """Check names, shapes and finite numbers; --against compares bits, --forward the frameworks' predictions.

    Raises:
        UserError: as ``open_source`` and ``load_weights``; or the files differ, or the predictions do.
    """
    loaded = load_weights(_open(given), _named_preset(given))
    print(f"{loaded.file.path}: {loaded.account.summary()}, all finite: a whole {loaded.spec.name}")
    if given.against:
        other = open_source(given.against, _named_preset(given), trust=given.trust)
        _compare_bits(loaded, load_weights(other, _named_preset(given)))
    if given.forward:
        _compare_predictions(loaded)


def _open(given: Namespace) -> WeightFile:
    return open_source(given.source, _named_preset(given), trust=given.trust, ema=not given.no_ema)


def _named_preset(given: Namespace) -> ExperimentSpec | None:
    """The spec of --preset, a name or a YAML file; None: find the preset that fits."""
    return None if given.preset is None else load_spec(given.preset)


def _compare_bits(a: Loaded, b: Loaded) -> None:
    shared = a.constants.keys() & b.constants.keys()  # not every format has them
    found = differences(a.weights | {name: a.constants[name] for name in sorted(shared)}, b.weights | b.constants)
    print(f"{'group':<34} {'tensors':>7} {'same bits':>9} {'worst |a - b|':>13}")
    for each in found:
        name = "" if each.identical == each.tensors else f"  {each.name}"
        print(f"{each.group:<34} {each.tensors:>7} {each.identical:>9} {each.worst:>13.3g}{name}")
    if differ := sum(each.tensors - each.identical for each in found):
        raise UserError(f"{a.file.path} and {b.file.path} differ in {differ} tensors")


def _compare_predictions(loaded: Loaded) -> None:
    side, worst = forward_differences(loaded.spec, loaded.weights)
    for candidate, difference in worst.items():
        pair = "the twins" if len(worst) == 1 else f"{REFERENCE} and {candidate}"
        if not difference <= SAME_PREDICTIONS:
            limit = f"at most {SAME_PREDICTIONS:g}"
            raise UserError(f"{pair} differ by {difference:.2e} on one {side} px image; {limit}")
        limit = f"limit {SAME_PREDICTIONS:g}"
        print(f"{pair} agree on one {side} px image: {difference:.2e} relative, float64 ({limit})")


def _file_line(file: WeightFile) -> str:
    return f"file               {file.path} ({file.format}, {file.form})"


def _dtypes(found: Counter[str]) -> str:
    half = {"float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"} & found.keys()
    text = ", ".join(f"{name} {count}" for name, count in found.most_common())
    return text + (" (half precision is widened to float32, exactly)" if half else "")


COMMANDS = {
    "convert": convert,
    "export": export,
    "inject-backbone": inject_backbone,
    "inspect": inspect,
    "verify": verify,
}
