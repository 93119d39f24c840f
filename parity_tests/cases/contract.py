"""The contract of a framework as data: the inputs of each question, and the names and shapes in its trace.

Preset ``tiny`` at 64x64: 84 tokens, 20 queries, 2 decoder layers.
"""

import numpy as np

from frameworks.arrays import Arrays
from frameworks.config import preset
from frameworks.protocol import Case, Framework
from frameworks.shared import drawn_inputs
from frameworks.shared.noise import denoising_count
from frameworks.state.parameters import Shape, state_shapes, trainable_names

SEED = "contract"
SPEC = preset("tiny")
MODEL = SPEC.model
SHAPES = state_shapes(MODEL)
COUNTS = (3, 2)
BATCH, QUERIES, CLASSES, LAYERS = (
    len(COUNTS),
    MODEL.decoder.num_queries,
    MODEL.num_classes,
    MODEL.decoder.num_layers,
)
DENOISING = denoising_count(MODEL, np.asarray(COUNTS))


def weights() -> Arrays:
    """Drawn weights of ``tiny``."""
    return drawn_inputs.weights(SHAPES, SEED)


def batch() -> Arrays:
    """Two images with targets and denoising noise."""
    drawn = drawn_inputs.targets(SEED, COUNTS, CLASSES) | drawn_inputs.noise(BATCH, DENOISING, SEED, CLASSES)
    return {"images": drawn_inputs.images(BATCH, 64, 64, SEED), **drawn}


def sizes() -> Arrays:
    """Original sizes (width, height) of the two images."""
    return {"sizes_wh": np.asarray([[640, 480], [100, 200]], np.int64)}


def trace(framework: Framework, question: str) -> Arrays:
    """The framework's trace for a question, in float64 on the CPU."""
    case = Case(
        question, SPEC, training=question in ("loss", "steps", "criterion", "denoising"), steps=2, module=MODULE
    )
    return framework.trace(case, weights(), inputs_of(question), device="cpu", dtype="float64")


MODULE = "decoder.query_pos_head"
PREDICTIONS = ("", *(f"aux_{i}." for i in range(LAYERS)), *(f"dn_{i}." for i in range(LAYERS)))
SUFFIXES = ("", *(f"_aux_{i}" for i in range(LAYERS)), *(f"_dn_{i}" for i in range(LAYERS)))
TERMS = [f"{kind}{suffix}" for suffix in SUFFIXES for kind in ("vfl", "bbox", "giou")]


def inputs_of(question: str) -> Arrays:
    """The inputs that a question needs."""
    if question in ("forward", "loss", "steps"):
        return batch()
    if question == "module":
        return {
            "input/0": drawn_inputs.uniform("x", (BATCH, 5, 4), SEED),
            "cotangent/0": drawn_inputs.uniform("c", (BATCH, 5, MODEL.decoder.hidden_dim), SEED),
        }
    if question == "optimizer":
        names = [(t, n) for t in range(2) for n in trainable_names(MODEL)]
        return {f"gradient/{t}/{n}": drawn_inputs.uniform(f"{t}{n}", SHAPES[n], SEED) - 0.5 for t, n in names}
    given = batch() | sizes()
    for key in PREDICTIONS:
        length = DENOISING if key.startswith("dn") else QUERIES
        given[f"prediction/{key}pred_logits"] = (
            drawn_inputs.uniform(f"l{key}", (BATCH, length, CLASSES), SEED) - 0.5
        )
        given[f"prediction/{key}pred_boxes"] = 0.2 + 0.3 * drawn_inputs.uniform(f"b{key}", (BATCH, length, 4), SEED)
    return given


def promised(question: str) -> dict[str, Shape]:
    """Array names of the trace and their shapes, as frameworks/protocol.py describes them."""
    states = {f"parameter/{n}": s for n, s in SHAPES.items()}
    states |= {f"ema/{n}": s for n, s in SHAPES.items() if not n.endswith("num_batches_tracked")}
    for name in trainable_names(MODEL):
        states |= {f"moment1/{name}": SHAPES[name], f"moment2/{name}": SHAPES[name], f"steps/{name}": ()}
    if question == "forward":
        return _predictions("forward/", 2) | _selection() | _statistics()
    if question == "loss":
        gradients = {f"gradient/{n}": SHAPES[n] for n in trainable_names(MODEL)}
        images = {"gradient_input/images": (BATCH, 3, 64, 64)}
        return _predictions("forward/") | _selection() | _losses() | gradients | images | _statistics()
    if question == "steps":
        each = _selection() | _losses() | {"gradient_norm/total": ()}
        return states | {f"step{t}/{n}": s for t in range(2) for n, s in each.items()}
    if question == "optimizer":
        return states | {f"step{t}/gradient_norm/total": () for t in range(2)}
    if question == "module":
        own = {f"gradient/{n}": s for n, s in SHAPES.items() if n.startswith(f"{MODULE}.")}
        return own | {"output/0": (BATCH, 5, MODEL.decoder.hidden_dim), "gradient_input/0": (BATCH, 5, 4)}
    if question == "criterion":
        return _losses() | _predictions("gradient_input/prediction/")
    if question == "postprocess":
        columns = {"labels": (BATCH, QUERIES), "boxes": (BATCH, QUERIES, 4), "scores": (BATCH, QUERIES)}
        return {f"postprocess/{name}": shape for name, shape in columns.items()}
    total, groups = DENOISING + QUERIES, DENOISING // (2 * max(COUNTS))
    return {
        "denoising/labels": (BATCH, DENOISING),
        "denoising/boxes_unact": (BATCH, DENOISING, 4),
        "denoising/blocked": (total, total),
        "denoising/groups": (),
    } | {f"denoising/positive/{b}": (n * groups,) for b, n in enumerate(COUNTS)}


def _predictions(prefix: str, count: int = len(PREDICTIONS)) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for key in PREDICTIONS[:count]:
        length = DENOISING if key.startswith("dn") else QUERIES
        shapes[f"{prefix}{key}pred_logits"] = (BATCH, length, CLASSES)
        shapes[f"{prefix}{key}pred_boxes"] = (BATCH, length, 4)
    return shapes


def _selection() -> dict[str, Shape]:
    return {"select/topk": (BATCH, QUERIES), "select/scores": (BATCH, QUERIES)}


def _losses() -> dict[str, Shape]:
    shapes: dict[str, Shape] = {f"loss/{term}": () for term in [*TERMS, "total"]}
    sides = ("queries", "targets")
    pairs = [(c, b, n) for c in range(LAYERS + 1) for b, n in enumerate(COUNTS)]
    shapes |= {f"cost/{c}/{b}": (QUERIES, n) for c, b, n in pairs}
    return shapes | {f"match/{c}/{b}/{side}": (n,) for c, b, n in pairs for side in sides}


def _statistics() -> dict[str, Shape]:
    return {f"statistic/{n}": s for n, s in SHAPES.items() if ".running_" in n}


INTEGERS = (
    "select/topk",
    "match/",
    "postprocess/labels",
    "denoising/labels",
    "denoising/groups",
    "denoising/positive",
)


def expected_dtype(name: str) -> str:
    """The dtype of an array in a float64 trace."""
    bare = name.split("/", 1)[1] if name.startswith("step") and name[4].isdigit() else name
    if bare.startswith(INTEGERS) or bare.endswith("num_batches_tracked"):
        return "int64"
    if bare.startswith("steps/"):
        return "float32"  # a count of updates, as PyTorch keeps it
    return "bool" if bare == "denoising/blocked" else "float64"
