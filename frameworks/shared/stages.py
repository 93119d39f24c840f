"""The stages of a parity comparison in the order of the data flow, and the stage of each array of a trace."""

# In a table in this order, a faulty stage comes before the stages that its fault spoils.
STAGES = (
    "denoising queries",
    "activations",
    "module forward",
    "norm statistics",
    "query selection",
    "forward",
    "post-processing",
    "matching",
    "losses",
    "backward",
    "gradient norm",
    "update",
    "moments",
    "EMA",
)

# First part of an array's name in a trace (see frameworks.protocol) -> stage.
STAGE_OF_PREFIX = {
    "forward": "forward",
    "select": "query selection",
    "loss": "losses",
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


def stage_of(name: str) -> str:
    """Stage of the array ``name`` of a trace, such as ``step2/loss/vfl`` or ``capture/encoder/output/0``."""
    parts = name_parts(name)
    if parts[0] == "capture" and parts[2] == "cotangent":
        return "backward"
    return STAGE_OF_PREFIX[parts[0]]


def name_parts(name: str) -> list[str]:
    """The parts of an array's name without the optimizer step in front (``step0/``, ``step1/``, ...)."""
    return [part for part in name.split("/") if not (part.startswith("step") and part[4:].isdigit())]
