"""Each framework against the official float32 results, and the official float64 ones with float32 constants.

The files (20 MB) are not in the repository: the environment variable ``ORACLE_ROOT`` names their folder.

- ``f32``: a framework's float32 error against the float64 truth stays within ``FLOAT32_OFFICIAL_FACTOR`` of the
  official implementation's.
- ``f64``: the official code computes anchors, positions and denoising boxes in float32 whatever the model's dtype.
  A framework computes them in the model's dtype, so it must differ from this variant by the effect of these
  constants, which is the difference between the official ``f64p`` and ``f64``, and by nothing else.
"""

import os
from pathlib import Path

import numpy as np
import pytest

import frameworks
from frameworks.arrays import Arrays
from frameworks.judge.compare import Comparison, compare_float32, relative_error
from frameworks.judge.record import Recorder
from frameworks.protocol import Case
from frameworks.shared import drawn_inputs
from frameworks.shared.tolerances import (
    CONSTANTS_REACH,
    CONSTANTS_SHARE,
    FLOAT32_FLOOR,
    FLOAT32_KINKS,
    FLOAT32_OFFICIAL_FACTOR,
    ORACLE,
)
from parity_tests.cases import subjects
from parity_tests.cases.subjects import given_gradients
from parity_tests.test_oracle import FILES, golden, sampled_modules, term, without_warm_up
from parity_tests.traces import Traces

ROOT = os.environ.get("ORACLE_ROOT", "")
STEPS = {"train": 1, "train5": 5}
EVALUATIONS = [(preset, case) for preset in FILES for case in ("eval_sq", "eval_rect") if "hgnet" not in preset]
EVALUATIONS.append(("rtdetrv2_hgnetv2_l", "eval_sq"))
TRAINED = ("rtdetr_r18vd", "rtdetrv2_r18vd")

pytestmark = [
    pytest.mark.zoo,
    pytest.mark.skipif(not ROOT, reason="the oracle's float32 files are not in the repository: set ORACLE_ROOT"),
    pytest.mark.parametrize("framework", frameworks.ADAPTERS),
    pytest.mark.parametrize("variant", ["f32", "f64"]),
]


def stored(preset: str, case: str, variant: str) -> Arrays:
    """The arrays of a file in ``ORACLE_ROOT``."""
    with np.load(Path(ROOT) / f"{FILES[preset]}__{case}__{variant}.npz") as file:
        return {key: file[key] for key in file.files}


def official_limit(stage: str, tensor: str, error: float) -> float:
    """The limit of a tensor where the official float32 error is ``error``; only samples of units are stored."""
    return max(FLOAT32_OFFICIAL_FACTOR * max(error, FLOAT32_FLOOR), FLOAT32_KINKS.get(stage, 0.0))


def check(
    recorder: Recorder,
    framework: str,
    preset: str,
    case: str,
    variant: str,
    mine: Arrays,
    official: Arrays,
    truth: Arrays,
) -> None:
    """Compare three sets of named arrays: this framework's, the official variant's and the official truth."""
    if variant == "f32":
        comparisons = compare_float32(mine, [official], truth, official_limit)
    else:
        comparisons = [constants_alone(name, mine[name], official[name], truth[name]) for name in truth]
    failures = recorder.add(
        comparisons,
        preset=preset,
        case=f"{case}, official {variant}",
        device="cpu",
        dtype="float32" if variant == "f32" else "float64",
        framework=framework,
        judge="oracle",
    )
    assert not failures, f"{framework}: {len(failures)} of {len(comparisons)} differ:\n" + "\n".join(failures)


def constants_alone(name: str, mine: np.ndarray, official: np.ndarray, truth: np.ndarray) -> Comparison:
    """mine - official equals truth - official; where the constants have little effect, it is as large."""
    stage = {"gradient": "backward", "loss": "losses", "update": "update", "ema": "EMA"}.get(name.partition("/")[0])
    effect = relative_error(truth, official)
    if effect > CONSTANTS_REACH:
        error, limit = relative_error(mine - official, truth - official), CONSTANTS_SHARE
    else:
        error = abs(relative_error(mine, official) - effect)
        limit = ORACLE["gradient samples" if stage == "backward" else "outputs"]
    return Comparison(stage or "forward", "decoder", f"{name}, constants", error, limit, reference_error=effect)


def by_token(array_BQC: np.ndarray, topk_BQ: np.ndarray) -> np.ndarray:
    """Rows in the order of their tokens: the order inside a block of tied scores is unspecified."""
    return np.take_along_axis(array_BQC, np.argsort(topk_BQ, axis=1)[..., None], axis=1)


def outputs(arrays: Arrays, topk_BQ: np.ndarray, prefix: str = "") -> Arrays:
    """Logits and boxes as named arrays, in the order of the tokens."""
    return {
        f"forward/{name}": by_token(arrays[f"{prefix}{name}"], topk_BQ) for name in ("pred_logits", "pred_boxes")
    }


@pytest.mark.parametrize(("preset", "case"), EVALUATIONS)
def test_evaluation(framework, variant, preset, case, traces: Traces, recorder):
    """Logits and boxes, and the sampled activations of backbone and encoder."""
    subject = subjects.subject(f"{preset}_rect" if case == "eval_rect" else preset)
    official, truth = stored(preset, case, variant), golden(preset, f"{case}__f64p")
    places = {n: m for n, m in sampled_modules(subject.spec.model).items() if n.startswith(("backbone", "encoder"))}
    question = Case("forward", subject.spec, capture=tuple(places.values()))
    inputs = subject.images() | {"forced/topk": truth["enc_topk_idx"].astype(np.int64)}
    dtype = "float32" if variant == "f32" else "float64"
    trace = traces.run(question, subject, inputs, framework, dtype, "cpu")
    mine = outputs(trace, truth["enc_topk_idx"], "forward/")
    mine |= {f"output/{n}": drawn_inputs.samples(trace[f"capture/{m}/output/0"], 64) for n, m in places.items()}
    sides = [
        outputs(side, side["enc_topk_idx"]) | {f"output/{name}": side[f"act/{name}/s"] for name in places}
        for side in (official, truth)
    ]
    check(recorder, framework, preset, case, variant, mine, *sides)


@pytest.mark.parametrize("case", ["train", "train_dn"])
@pytest.mark.parametrize("preset", TRAINED)
def test_training(framework, variant, preset, case, traces: Traces, recorder):
    """Predictions, every loss term, norms and samples of all gradients."""
    subject = subjects.subject(f"{preset}_plain" if case == "train" else preset)
    official, truth = stored(preset, case, variant), golden(preset, f"{case}__f64p")
    inputs = subject.training_inputs() | decisions(truth, 0)
    inputs["forced/topk"] = truth["enc_topk_idx"].astype(np.int64)
    question = Case("loss", subject.spec, training=True)
    dtype = "float32" if variant == "f32" else "float64"
    trace = traces.run(question, subject, inputs, framework, dtype, "cpu")
    gradients = [trace[f"gradient/{name}"] for name in truth["param_names"]]
    mine = outputs(trace, truth["enc_topk_idx"], "forward/") | losses(trace, truth)
    mine["gradient/norms"] = np.array([np.linalg.norm(gradient.astype(np.float64)) for gradient in gradients])
    mine["gradient/samples"] = np.concatenate([drawn_inputs.samples(gradient, 16) for gradient in gradients])
    sides = [
        outputs(side, side["enc_topk_idx"])
        | {"loss/terms": side["step0/losses"], "loss/total": side["step0/total"]}
        | {"gradient/norms": side["grad_norm"], "gradient/samples": pooled(side["grad_s"], gradients)}
        for side in (official, truth)
    ]
    check(recorder, framework, preset, case, variant, mine, *sides)


def decisions(truth: Arrays, step: int) -> Arrays:
    """The truth's matchings as forced ones."""
    forced: Arrays = {}
    for key in (key for key in truth if key.startswith(f"step{step}/match")):
        _, matching, image = key.split("/")
        place = f"forced/match/{matching.removeprefix('match')}/{image.removeprefix('b')}"
        forced[f"{place}/queries"], forced[f"{place}/targets"] = truth[key].astype(np.int64)
    return forced


def losses(trace: Arrays, truth: Arrays) -> Arrays:
    """All loss terms in the official order as one array, and the total."""
    names = [str(name) for name in truth["loss_names"]]
    terms = np.array([trace[f"loss/{term(name, names)}"] for name in names])
    return {"loss/terms": terms, "loss/total": trace["loss/total"]}


def pooled(samples: np.ndarray, like: list[np.ndarray]) -> np.ndarray:
    """The oracle's padded rows as one vector."""
    return np.concatenate([row[: min(row.size, array.size)] for row, array in zip(samples, like, strict=True)])


@pytest.mark.parametrize("case", ["train", "train5"])
@pytest.mark.parametrize("preset", TRAINED)
def test_steps(framework, variant, preset, case, traces: Traces, recorder):
    """Updates and averages after whole training steps, over all sampled parameters together."""
    subject, count = subjects.subject(f"{preset}_plain"), STEPS[case]
    official, truth = stored(preset, case, variant), golden(preset, f"{case}__f64p")
    inputs = subject.training_inputs()
    for step in range(count):
        topk = truth["enc_topk_idx"] if case == "train" else truth[f"step{step}/enc_topk_idx"]
        forced = decisions(truth, step) | {"forced/topk": topk.astype(np.int64)}
        inputs |= {f"step{step}/{name}": array for name, array in forced.items()}
    spec = without_warm_up(subject.spec)
    question = Case("steps", spec, training=True, steps=count, lr_scale=1.0 if count == 1 else 0.01)
    dtype = "float32" if variant == "f32" else "float64"
    trace = traces.run(question, subject, inputs, framework, dtype, "cpu")
    mine, *sides = updated(trace, subject.weights(), official, truth, count)
    check(recorder, framework, preset, case, variant, mine, *sides)


@pytest.mark.parametrize("preset", TRAINED)
def test_optimizer(framework, variant, preset, traces: Traces, recorder):
    """Clip, AdamW and EMA on given gradients, five steps. No constant enters: the float64 file is the truth."""
    subject = subjects.subject(preset)
    official, truth = stored(preset, "optim", variant), golden(preset, "optim__f64")
    question = Case("optimizer", without_warm_up(subject.spec), steps=5)
    dtype = "float32" if variant == "f32" else "float64"
    inputs = given_gradients(subject, 5)
    trace = traces.run(question, subject, inputs, framework, dtype, "cpu")
    mine, *sides = updated(trace, subject.weights(), official, truth, 5)
    check(recorder, framework, preset, "optim", variant, mine, *sides)


def updated(trace: Arrays, before: Arrays, official: Arrays, truth: Arrays, count: int) -> list[Arrays]:
    """Sampled change of all parameters, and averages, of the framework, the official variant and the truth."""
    names = [str(name) for name in truth["param_names"]]
    shapes = [before[name] for name in names]

    def of(kind: str) -> np.ndarray:
        return np.concatenate(
            [drawn_inputs.samples(trace[f"{kind}/{name}"].astype(np.float64), 8) for name in names]
        )

    start = pooled(truth["p0/s"], shapes)
    found = [{"update/samples": of("parameter") - start, "ema/samples": of("ema")}]
    for side in (official, truth):
        change = pooled(side[f"p{count}/s"].astype(np.float64), shapes) - start
        found.append({"update/samples": change, "ema/samples": pooled(side[f"ema{count}/s"], shapes)})
    return found
