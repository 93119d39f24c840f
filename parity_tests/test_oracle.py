"""Each framework alone against the official implementation's stored float64 results (docs/proof.md, "The oracle").

``oracle/`` holds outputs of the official code with its constants computed in float64 (variant f64p), for the
weights, inputs and noise that ``frameworks/shared/drawn_inputs.py`` makes. Frameworks can share a mistake of their
authors; the official code does not have it. RT-DETR r18vd is in the fast session, with one case of RT-DETRv2; the
other models and cases are in the session ``parity_zoo``.
"""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import frameworks
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec, ModelSpec
from frameworks.judge.compare import Comparison, relative_error
from frameworks.judge.record import Record, Recorder
from frameworks.protocol import Case
from frameworks.shared import drawn_inputs
from frameworks.shared.tolerances import NEGLIGIBLE, ORACLE, ORACLE_CHANGES, ORACLE_ZERO, SMALLEST_CHANGE
from frameworks.state.backbones import stem_and_stages
from frameworks.state.parameters import trainable_names
from parity_tests.cases import subjects
from parity_tests.cases.subjects import given_gradients, in_zoo
from parity_tests.traces import Traces

ORACLE_FOLDER = Path(__file__).parent / "oracle"
PARAMETER_SAMPLES = 8
pytestmark = pytest.mark.parametrize("framework", frameworks.ADAPTERS)


FILES = {  # preset -> name in the oracle's files
    "rtdetr_r18vd": "v1_r18vd",
    "rtdetr_r50vd": "v1_r50vd",
    "rtdetrv2_r18vd": "v2_r18vd",
    "rtdetrv2_hgnetv2_l": "v2_hgnetv2_l",
}


@functools.cache
def golden(preset: str, case: str) -> Arrays:
    """The arrays of one of the oracle's files, such as ``train__f64p``."""
    with np.load(ORACLE_FOLDER / f"{FILES[preset]}__{case}.npz") as file:
        return {key: file[key] for key in file.files}


def sampled_modules(spec: ModelSpec) -> dict[str, str]:
    """The oracle's name of an activation -> the module whose output it is."""
    _, stages = stem_and_stages(spec.backbone)
    levels = spec.num_levels
    names = {f"backbone.{i}": stages[stage] for i, stage in enumerate(spec.backbone.return_idx)}
    names |= {"encoder.encoder.0": "encoder.encoder.0", "encoder.0": f"encoder.fpn_blocks.{levels - 2}"}
    names |= {f"encoder.{i + 1}": f"encoder.pan_blocks.{i}" for i in range(levels - 1)}
    same = [*(f"decoder.input_proj.{i}" for i in range(levels)), "decoder.enc_output"]
    same += [f"decoder.decoder.layers.{i}" for i in range(spec.decoder.num_layers)]
    return names | {name: name for name in same}


def check(recorder: Recorder, framework: str, preset: str, case: str, comparisons: list[Comparison]) -> None:
    """Record the comparisons and fail with a line for each tensor that differs."""
    Record(recorder, preset, case, "float64", "cpu").check(comparisons, framework, "oracle")


def near(stage: str, module: str, tensor: str, got: Any, want: Any, limit: str) -> Comparison:
    """A comparison by relative Frobenius error, with the limit ``ORACLE[limit]``."""
    return Comparison(stage, module, tensor, relative_error(np.asarray(got), np.asarray(want)), ORACLE[limit])


def equal(stage: str, tensor: str, got: np.ndarray, want: np.ndarray) -> Comparison:
    """A comparison of integers, which must be equal."""
    same = got.shape == want.shape and bool((got == want).all())
    return Comparison(stage, "decoder", tensor, 0.0 if same else 1.0, 0.0)


def outputs(trace: Arrays, oracle: Arrays, spec: ModelSpec) -> list[Comparison]:
    """Logits, boxes, selection and the sampled activations."""
    found = [
        near("forward", "decoder", name, trace[f"forward/{name}"], oracle[name], "outputs")
        for name in ("pred_logits", "pred_boxes")
    ]
    found += selection(trace["select/topk"], trace["select/scores"], oracle["enc_topk_idx"], oracle["enc_topk_val"])
    for name, module in sampled_modules(spec).items():
        value = trace[f"capture/{module}/output/0"]
        samples = oracle[f"act/{name}/s"]
        found.append(
            near("activations", module, f"{name} samples", drawn_inputs.samples(value, 64), samples, "activations")
        )
        norm = np.linalg.norm(value.ravel())
        found.append(near("activations", module, f"{name} norm", norm, oracle[f"act/{name}/n"][1], "activations"))
    return found


def selection(topk: np.ndarray, scores: np.ndarray, want: np.ndarray, want_scores: np.ndarray) -> list[Comparison]:
    """Indices equal in order, except inside a block of exactly tied scores, where the order is unspecified."""
    found = [near("query selection", "decoder", "scores", scores, want_scores, "outputs")]
    mine, official = topk.copy().astype(np.int64), want.astype(np.int64)
    for indices, values in ((mine, scores), (official, want_scores)):
        for image in range(len(indices)):
            order = np.lexsort((indices[image], -np.round(values[image], 12)))
            indices[image] = indices[image][order]
    return [*found, equal("query selection", "top-k indices", mine, official)]


def losses(trace: Arrays, oracle: Arrays, step: int, prefix: str = "") -> list[Comparison]:
    """Every weighted term, the total, and every matching of a step."""
    names = [str(name) for name in oracle["loss_names"]]
    found = [
        near("losses", "criterion", name, trace[f"{prefix}loss/{term(name, names)}"], want, "losses")
        for name, want in zip(names, oracle[f"step{step}/losses"], strict=True)
    ]
    total = trace[f"{prefix}loss/total"]
    found.append(near("losses", "criterion", "total", total, oracle[f"step{step}/total"], "losses"))
    for key in oracle:
        if key.startswith(f"step{step}/match"):
            _, matching, image = key.split("/")
            place = f"{prefix}match/{matching.removeprefix('match')}/{image.removeprefix('b')}"
            pairs = np.stack([trace[f"{place}/queries"], trace[f"{place}/targets"]])
            found.append(equal("matching", key, pairs, oracle[key]))
    return found


def term(name: str, names: list[str]) -> str:
    """Our name of an official loss term: RT-DETRv2 calls ``enc_0`` what RT-DETR counts as the last ``aux``."""
    layers = len({other.partition("_aux_")[2] for other in names if "_aux_" in other})
    return name.removeprefix("loss_").replace("enc_0", f"aux_{layers}")


def gradients(trace: Arrays, oracle: Arrays) -> list[Comparison]:
    """Norm and samples of every parameter's gradient; the small ones whole."""
    found = []
    largest = np.nanmax(oracle["grad_norm"])
    for name, norm, samples in zip(oracle["param_names"], oracle["grad_norm"], oracle["grad_s"], strict=True):
        value = trace[f"gradient/{name}"]
        module = str(name).rpartition(".")[0]
        mine = drawn_inputs.samples(value, 16)
        want = samples[: len(mine)]
        if norm < NEGLIGIBLE * largest:  # analytically zero: it holds rounding only
            error = float(np.abs(mine).max() / largest)
            found.append(Comparison("backward", module, f"{name} (zero)", error, ORACLE_ZERO))
            continue
        found.append(
            near("backward", module, f"{name} norm", np.linalg.norm(value.ravel()), norm, "gradient norms")
        )
        error = float(np.linalg.norm(mine - want) / max(np.linalg.norm(want), NEGLIGIBLE * norm))
        found.append(Comparison("backward", module, f"{name} samples", error, ORACLE["gradient samples"]))
    for key in (key for key in oracle if key.startswith("grad/")):
        name = key.removeprefix("grad/")
        value = trace[f"gradient/{name}"]
        found.append(near("backward", name.rpartition(".")[0], name, value, oracle[key], "gradient samples"))
    return found


def state(trace: Arrays, oracle: Arrays, count: int) -> list[Comparison]:
    """Parameters, running statistics and averages after ``count`` steps: norms and samples."""
    found = []
    for kind, key, limit in (("parameter", "p", "parameters"), ("ema", "ema", "moments and EMA")):
        for names, short in (("param_names", ""), ("bn_names", "bn_")):
            norms, samples = oracle[f"{key}{count}/{short}norm"], oracle[f"{key}{count}/{short}s"]
            for name, norm, want in zip(oracle[names], norms, samples, strict=True):
                value = trace[f"{kind}/{name}"]
                module = str(name).rpartition(".")[0]
                stage = "update" if kind == "parameter" else "EMA"
                mine = drawn_inputs.samples(value, PARAMETER_SAMPLES)
                found.append(near(stage, module, f"{name} norm", np.linalg.norm(value.ravel()), norm, limit))
                found.append(near(stage, module, f"{name} samples", mine, want[: len(mine)], limit))
    return found


def update_samples(trace: Arrays, before: Arrays, oracle: Arrays, count: int) -> list[Comparison]:
    """The change since step 0 at the sampled places, because it is small beside the parameter."""
    found = []
    for name, start, end in zip(oracle["param_names"], oracle["p0/s"], oracle[f"p{count}/s"], strict=True):
        change = drawn_inputs.samples(trace[f"parameter/{name}"], 8) - drawn_inputs.samples(
            before[str(name)], 8
        ).astype(float)
        want = (end - start)[: len(change)]
        if np.linalg.norm(want) > SMALLEST_CHANGE:
            error, module = np.linalg.norm(change - want) / np.linalg.norm(want), str(name).rpartition(".")[0]
            found.append(Comparison("update", module, f"{name} change", float(error), ORACLE_CHANGES))
    return found


@pytest.mark.parametrize(
    ("preset", "case"),
    [
        ("rtdetr_r18vd", "eval_sq"),
        ("rtdetr_r18vd", "eval_rect"),
        ("rtdetrv2_r18vd", "eval_sq"),
        in_zoo("rtdetrv2_r18vd", "eval_rect"),
        in_zoo("rtdetr_r50vd", "eval_sq"),
        in_zoo("rtdetr_r50vd", "eval_rect"),
        in_zoo("rtdetrv2_hgnetv2_l", "eval_sq"),
    ],
)
def test_evaluation(framework, preset, case, traces: Traces, recorder):
    """Square and rectangular input; the latter selects invalid anchors and has the scrambled positions."""
    subject = subjects.subject(f"{preset}_rect" if case == "eval_rect" else preset)
    model = subject.spec.model
    question = Case("forward", subject.spec, capture=tuple(sampled_modules(model).values()))
    trace = traces.run(question, subject, subject.images(), framework, "float64", "cpu")
    oracle = golden(preset, f"{case}__f64p")
    found = outputs(trace, oracle, model) + postprocessed(traces, framework, subject, trace, oracle)
    check(recorder, framework, preset, case, found)


def postprocessed(
    traces: Traces, framework: str, subject: subjects.Subject, trace: Arrays, oracle: Arrays
) -> list[Comparison]:
    """Labels, boxes in pixels and scores for the oracle's original sizes."""
    inputs = {f"prediction/{name}": trace[f"forward/{name}"] for name in ("pred_logits", "pred_boxes")}
    inputs["sizes_wh"] = np.array([[640, 480], [333, 500]], np.int64)
    question = Case("postprocess", subject.spec)
    got = traces.run(question, subject, inputs, framework, "float64", "cpu")
    found = []
    for image in range(2):
        scores, want = got["postprocess/scores"][image], oracle[f"post/{image}/scores"]
        found.append(near("post-processing", "postprocess", f"scores {image}", scores, want, "outputs"))
        # Rows of tied scores may stand in any order: sort by score, label and position.
        mine = _sorted_rows(scores, got["postprocess/labels"][image], got["postprocess/boxes"][image])
        official = _sorted_rows(want, oracle[f"post/{image}/labels"], oracle[f"post/{image}/boxes"])
        found.append(equal("post-processing", f"labels {image}", mine[:, 0], official[:, 0]))
        found.append(
            near("post-processing", "postprocess", f"boxes {image}", mine[:, 1:], official[:, 1:], "outputs")
        )
    return found


def _sorted_rows(scores: np.ndarray, labels: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    rows = np.concatenate([labels[:, None], boxes], axis=1)
    return rows[np.lexsort((*np.round(rows.T[::-1], 6), -np.round(scores, 12)))]


@pytest.mark.parametrize("case", ["train", "train_dn"])
@pytest.mark.parametrize("preset", ["rtdetr_r18vd", in_zoo("rtdetrv2_r18vd")])
def test_training(framework, preset, case, traces: Traces, recorder):
    """Forward in training mode, every loss term, matchings and gradients, without and with denoising."""
    subject = subjects.subject(f"{preset}_plain" if case == "train" else preset)
    trace = traces.training(subject, framework, "float64", "cpu")
    oracle = golden(preset, f"{case}__f64p")
    found = outputs(trace, oracle, subject.spec.model) + losses(trace, oracle, step=0) + gradients(trace, oracle)
    check(recorder, framework, preset, case, found)


@pytest.mark.parametrize(("case", "count", "lr_scale"), [("train", 1, 1.0), in_zoo("train5", 5, 0.01)])
@pytest.mark.parametrize("preset", ["rtdetr_r18vd", in_zoo("rtdetrv2_r18vd")])
def test_steps(framework, preset, case, count, lr_scale, traces: Traces, recorder):
    """Clip, AdamW and EMA: one step at the official rate, five at a hundredth, where they do not yet diverge."""
    subject = subjects.subject(f"{preset}_plain")
    spec = without_warm_up(subject.spec)
    question = Case("steps", spec, training=True, steps=count, lr_scale=lr_scale)
    inputs = subject.training_inputs()
    trace = traces.run(question, subject, inputs, framework, "float64", "cpu")
    oracle = golden(preset, f"{case}__f64p")
    found = state(trace, oracle, count) + update_samples(trace, subject.weights(), oracle, count)
    for step in range(count):
        found += losses(trace, oracle, step, prefix=f"step{step}/")
        norm, want = trace[f"step{step}/gradient_norm/total"], oracle[f"step{step}/grad_total_norm_preclip"]
        found.append(near("gradient norm", "optimizer", f"step {step}", norm, want, "gradient norms"))
    check(recorder, framework, preset, case, found)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("preset", ["rtdetr_r18vd", in_zoo("rtdetrv2_r18vd")])
def test_optimizer(framework, preset, count, traces: Traces, recorder):
    """Clip, AdamW and EMA alone, on given gradients."""
    subject = subjects.subject(preset)
    question = Case("optimizer", without_warm_up(subject.spec), steps=count)
    inputs = given_gradients(subject, count)
    trace = traces.run(question, subject, inputs, framework, "float64", "cpu")
    oracle = golden(preset, "optim__f64")
    assert len(oracle["param_names"]) == len(trainable_names(subject.spec.model))
    found = state(trace, oracle, count) + update_samples(trace, subject.weights(), oracle, count)
    for step in range(count):
        norm, want = trace[f"step{step}/gradient_norm/total"], oracle[f"step{step}/grad_total_norm_preclip"]
        found.append(near("gradient norm", "optimizer", f"step {step}", norm, want, "gradient norms"))
    check(recorder, framework, preset, f"optim, {count} steps", found)


def without_warm_up(spec: ExperimentSpec) -> ExperimentSpec:
    """The oracle's steps have the full learning rate (docs/proof.md, "The oracle")."""
    return replace(spec, recipe=replace(spec.recipe, warmup_steps=0))
