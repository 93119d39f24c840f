"""Stages and modules of a parity comparison in data-flow order, and the stage of each array of a trace."""

# In a table in this order, a faulty stage comes before the stages that its fault spoils.
STAGES = (
    "denoising queries",
    "activations",
    "module forward",
    "norm statistics",
    "query selection",
    "forward",
    "post-processing",
    "matching costs",
    "matching",
    "losses",
    "backward",
    "gradient norm",
    "update",
    "moments",
    "EMA",
)

# Parts of the model, by their paths without numbers. The parts of one row alternate: block 0 of each, block 1 ...
MODULES = (
    ("images",),
    ("backbone.stem",),
    ("backbone",),
    ("encoder.input_proj",),
    ("encoder.encoder.layers.self_attn", "encoder.encoder"),
    ("encoder.lateral_convs", "encoder.fpn_blocks"),
    ("encoder.downsample_convs", "encoder.pan_blocks"),
    ("encoder",),
    ("denoising",),
    ("decoder.input_proj",),
    ("decoder.enc_output",),
    ("decoder.enc_score_head",),
    ("decoder.enc_bbox_head",),
    ("decoder.query_pos_head",),
    (
        "decoder.decoder.layers.self_attn",
        "decoder.decoder.layers.cross_attn",
        "decoder.decoder.layers",
        "decoder.dec_score_head",
        "decoder.dec_bbox_head",
    ),
    ("decoder",),
    ("postprocess",),
    ("criterion",),
    ("optimizer",),
)

# First part of an array's name in a trace (see frameworks.protocol) -> stage.
STAGE_OF_PREFIX = {
    "forward": "forward",
    "select": "query selection",
    "loss": "losses",
    "cost": "matching costs",
    "match": "matching",
    "gradient": "backward",
    "gradient_input": "backward",
    "gradient_norm": "gradient norm",
    "statistic": "norm statistics",
    "capture": "activations",
    "output": "module forward",
    "postprocess": "post-processing",
    "denoising": "denoising queries",
    "update": "update",
    "parameter": "update",
    "moment1": "moments",
    "moment2": "moments",
    "steps": "moments",
    "ema": "EMA",
}


def stage_position(stage: str) -> int:
    """Sort key of a stage in data-flow order; unknown stages come last."""
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


def module_position(module: str) -> tuple[int, int, int, str]:
    """Sort key of a module's path in data-flow order, a module after its parts; unknown modules come last."""
    parts = module.split(".")
    path = without_numbers(module)
    rows = [(row, place) for row, names in enumerate(MODULES) for place, name in enumerate(names)]
    matches = [(row, place) for row, place in rows if f"{path}.".startswith(f"{MODULES[row][place]}.")]
    if not matches:
        return len(MODULES), 0, 0, ""
    row, place = max(matches, key=lambda match: len(MODULES[match[0]][match[1]]))
    block = next((int(part) for part in parts if part.isdigit()), 0) if len(MODULES[row]) > 1 else 0
    return row, block, place, ".".join(part.zfill(3) for part in parts) + ".~"


def flow_position(stage: str, module: str) -> tuple[int, int, int]:
    """Sort key of a comparison in data-flow order; gradients flow backwards, from the last module to the first."""
    row, block, part, _ = module_position(module)
    sign = -1 if stage == "backward" else 1
    return stage_position(stage), sign * row, sign * (block * 100 + part)


def without_numbers(module: str) -> str:
    """A module's path without the numbers of blocks and layers."""
    return ".".join(part for part in module.split(".") if not part.isdigit())


def part_of(module: str) -> str:
    """The innermost part of the model in ``MODULES`` that a module's path belongs to; "" where none does."""
    path = without_numbers(module)
    parts = [name for names in MODULES for name in names if f"{path}.".startswith(f"{name}.")]
    return max(parts, key=len, default="")


def stage_of(name: str) -> str:
    """Stage of the array ``name`` of a trace, such as ``step2/loss/vfl`` or ``capture/encoder/output/0``."""
    parts = name_parts(name)
    if parts[0] == "capture" and parts[2] == "cotangent":
        return "backward"
    return STAGE_OF_PREFIX[parts[0]]


def name_parts(name: str) -> list[str]:
    """The parts of an array's name without the optimizer step in front (``step0/``, ``step1/``, ...)."""
    return [part for part in name.split("/") if not (part.startswith("step") and part[4:].isdigit())]
