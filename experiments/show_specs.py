"""The command that lists the presets and shows one spec as YAML."""

import sys

from experiments.command import COMPLETE, Parser
from frameworks.config import ALIASES, PRESETS, ExperimentSpec, dump_changes, dump_yaml, load_with_account, preset
from frameworks.state import backbones


def show_specs(arguments: list[str] | None) -> int:
    """Do what the arguments of experiments/spec.py ask for; returns the exit status. Raises UserError."""
    given = _parser().parse_args(arguments)
    if given.command == "list":
        print("\n".join(_line(preset(name)) for name in (*PRESETS, *ALIASES)))
    else:
        _show(given.spec, given.diff)
    return COMPLETE


def _parser() -> Parser:
    parser = Parser(prog="python experiments/spec.py", description="Print specs.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="list|show")
    commands.add_parser("list", help="the presets and their aliases, one line each")
    show = commands.add_parser("show", help="one spec as complete YAML")
    show.add_argument("spec", metavar="NAME|FILE", help="a preset, our YAML, or an official YAML file")
    show.add_argument("--diff", metavar="PRESET", help="only what differs, as YAML that inherits from PRESET")
    return parser


def _line(spec: ExperimentSpec) -> str:
    model, recipe, data = spec.model, spec.recipe, spec.data
    decoder = model.decoder
    sampling = f"points {'-'.join(map(str, decoder.num_points))}"
    if decoder.cross_attn_method != "default":
        sampling += f" {decoder.cross_attn_method}"
    backbone = backbones.summary(model.backbone)
    warm_up = f", warm-up {recipe.warmup_steps}" if recipe.warmup_steps else ""
    return (
        f"{spec.name:<22} {model.version}  {backbone:<27} encoder {model.encoder.hidden_dim:<3}  "
        f"decoder {decoder.num_layers} layers, {sampling:<21}  {recipe.epochs:>3} epochs of {data.dataset}, "
        f"batches of {data.batch_size}{warm_up}"
    )


def _show(name: str, base: str | None) -> None:
    loaded = load_with_account(name)
    # The text is complete before anything is printed, so that an error prints nothing else.
    text = dump_yaml(loaded.spec) if base is None else dump_changes(loaded.spec, preset(base))
    for entry in loaded.left_aside:
        print(f"left aside: {entry.key}: {entry.why}", file=sys.stderr)
    print(text, end="")
