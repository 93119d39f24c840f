"""Losses, softmax scores and numbers of classes in official YAML files; our own files hold them, too."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from frameworks.config import (
    CriterionSpec,
    LoadedSpec,
    MatcherSpec,
    SpecError,
    dump_yaml,
    load_official,
    load_spec,
    preset,
)
from frameworks.tests.official_form import Config, r50vd_v1, r50vd_v2, setting, write

BOXES = {"loss_bbox": 5, "loss_giou": 2}


def load(folder: Path, parts: list[Config], *changes: tuple[str, Any]) -> LoadedSpec:
    for path, value in changes:
        setting(path, value)(parts)
    return load_official(write(folder, parts))


def test_focal_in_place_of_varifocal(tmp_path: Path) -> None:
    """Weights of other losses change nothing, as in the official code, and are listed."""
    weights = {"loss_focal": 1.5, "loss_vfl": 1, **BOXES}
    changes = [("RTDETRCriterionv2/losses", ["boxes", "focal"]), ("RTDETRCriterionv2/weight_dict", weights)]
    found = load(tmp_path, r50vd_v2(), *changes)
    assert found.spec.criterion == CriterionSpec(losses=("focal", "boxes"), weight_focal=1.5)
    assert "RTDETRCriterionv2.weight_dict.loss_vfl" in {entry.key for entry in found.left_aside}


def test_weighted_boxes_and_shared_matchings(tmp_path: Path) -> None:
    changes = [("RTDETRCriterionv2/boxes_weight_format", "giou"), ("RTDETRCriterionv2/share_matched_indices", True)]
    found = load(tmp_path, r50vd_v2(), *changes).spec.criterion
    assert found == CriterionSpec(boxes_weight_format="giou", share_matched_indices=True)


def test_a_loss_without_a_weight_weighs_nothing(tmp_path: Path) -> None:
    """The official code leaves it out; cardinality is for the log alone."""
    found = load(tmp_path, r50vd_v1(), ("SetCriterion/losses", ["vfl", "bce", "boxes", "cardinality"]))
    assert (found.spec.criterion.losses, found.spec.criterion.weight_bce) == (("bce", "vfl", "boxes"), 0.0)
    assert "cardinality" in {entry.key: entry.why for entry in found.left_aside}["SetCriterion.losses"]


def softmax_parts(decoder: int, criterion: int, **losses: Any) -> list[Config]:
    """A file with cross-entropy, in the only form that the official code can run."""
    parts = r50vd_v1()
    del parts[0]["num_classes"]
    model = parts[2]
    model["use_focal_loss"] = False
    model["RTDETRTransformer"]["num_classes"] = decoder
    model["SetCriterion"] |= {"losses": ["labels", "boxes"], "num_classes": criterion, "eos_coef": 0.1} | losses
    model["SetCriterion"]["weight_dict"] = {"loss_ce": 2, **BOXES}
    return parts


def test_cross_entropy_has_one_logit_more_than_classes(tmp_path: Path) -> None:
    found = load(tmp_path, softmax_parts(13, 12))
    spec = found.spec
    assert (spec.model.num_classes, spec.object_classes) == (13, 12)
    softmax = MatcherSpec(use_focal_loss=False)
    assert spec.criterion == CriterionSpec(losses=("labels", "boxes"), weight_ce=2, eos_coef=0.1, matcher=softmax)
    whys = {entry.key: entry.why for entry in found.left_aside}
    assert "over the images" in whys["RTDETRPostProcessor.use_focal_loss"]
    (tmp_path / "own.yml").write_text(dump_yaml(spec), encoding="utf-8")
    assert load_spec(str(tmp_path / "own.yml")) == spec


@pytest.mark.parametrize(
    ("parts", "changes", "fragments"),
    [
        (softmax_parts(12, 12), [], ["SetCriterion.num_classes is 12", "expected 11", "12 logits"]),
        (softmax_parts(12, 11), [("num_classes", 12)], ["num_classes", "none at the top level", "background"]),
        (softmax_parts(12, 11), [("use_focal_loss", True)], ["losses", "use_focal_loss false"]),
        (softmax_parts(12, 11, losses=["labels", "vfl"]), [], ["losses", "no other classification loss"]),
        (r50vd_v1(), [("SetCriterion/losses", ["masks"])], ["masks is not among labels, bce, focal, vfl, boxes"]),
        (r50vd_v1(), [("SetCriterion/boxes_weight_format", "iou")], ["boxes_weight_format", "no key"]),
        (r50vd_v1(), [("SetCriterion/losses", [])], ["CriterionSpec.losses is ()"]),
    ],
)
def test_what_the_official_code_cannot_run_is_refused(
    parts: list[Config], changes: list[tuple[str, Any]], fragments: list[str], tmp_path: Path
) -> None:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, parts, *changes)
    assert all(fragment in str(caught.value) for fragment in fragments), caught.value


def test_matcher_and_scores_are_of_one_kind(tmp_path: Path) -> None:
    """Left out everywhere, the official matcher has softmax scores and the post-processing sigmoid ones."""
    parts = r50vd_v1()
    del parts[2]["use_focal_loss"]
    with pytest.raises(SpecError, match=r"matcher's is False.*at the top level"):
        load(tmp_path, parts)
    parts[2]["RTDETRPostProcessor"] = {"use_focal_loss": False}
    assert not load(tmp_path, parts).spec.criterion.matcher.use_focal_loss


@pytest.mark.parametrize(
    ("name", "changes", "fragments"),
    [
        ("tiny", {"boxes_weight_format": "iou"}, ["boxes_weight_format is 'iou'", "RT-DETR (v1)"]),
        ("tiny", {"share_matched_indices": True}, ["share_matched_indices is True", "RT-DETR (v1)"]),
        ("rtdetrv2_r18vd", {"losses": ("bce", "boxes")}, ["losses has bce", "RT-DETRv2 has focal, vfl and boxes"]),
    ],
)
def test_the_version_decides_which_losses_there_are(
    name: str, changes: dict[str, Any], fragments: list[str]
) -> None:
    spec = preset(name)
    with pytest.raises(SpecError) as caught:
        replace(spec, criterion=replace(spec.criterion, **changes))
    assert all(fragment in str(caught.value) for fragment in fragments), caught.value
