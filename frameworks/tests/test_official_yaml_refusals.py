"""Official YAML files that the spec cannot express are refused, with the key, its value and what is expected."""

from pathlib import Path
from typing import Any

import pytest

from frameworks.config import SpecError, load_spec
from frameworks.tests.official_form import STRONG, r50vd_v1, r50vd_v2, setting, write
from frameworks.tests.test_official_yaml import TRANSFORMS

REFUSED_V2 = [
    ("task", "classification", ["task", "'detection'"]),
    ("num_clases", 80, ["num_clases", "Did you mean 'num_classes'?"]),
    ("PResNet/dept", 50, ["PResNet.dept", "part2.yml", "Did you mean 'depth'?"]),
    ("PResNet/depth", 152, ["PResNet.depth", "152", "18 or 34 or 50 or 101"]),
    ("PResNet/depth", "50", ["PResNet.depth is '50'"]),
    ("PResNet/variant", "b", ["PResNet.variant is 'b'", "'d'"]),
    ("PResNet/num_stages", 3, ["PResNet.num_stages is 3"]),
    ("PResNet/freeze_norm", 1, ["PResNet.freeze_norm is 1", "expected bool"]),
    ("PResNet/return_idx", [2, 3], ["in_channels", "[1024, 2048]"]),
    ("PResNet", [50], ["PResNet is [50]", "expected dict"]),
    ("HybridEncoder/in_channels", [64, 128, 256], ["HybridEncoder.in_channels", "[512, 1024, 2048]"]),
    ("HybridEncoder/dropout", 0.1, ["HybridEncoder.dropout is 0.1"]),
    ("HybridEncoder/dropout", False, ["HybridEncoder.dropout is False"]),
    ("HybridEncoder/nhead", 7, ["nhead is 7", "divisor"]),
    ("HybridEncoder/version", "v1", ["HybridEncoder.version is 'v1'", "one version"]),
    ("HybridEncoder/eval_spatial_size", [320, 320], ["eval_spatial_size", "[640, 640]"]),
    ("RTDETR/backbone", "ResNet", ["RTDETR.backbone is 'ResNet'", "'PResNet'"]),
    ("RTDETR/decoder", "RTDETRTransformer", ["HybridEncoder.version", "left out", "'v1'"]),
    ("criterion", "RTDETRCriterion", ["criterion is 'RTDETRCriterion'", "version v2"]),
    ("RTDETR/multi_scale", [640], ["RTDETR.multi_scale", "no key"]),
    ("RTDETRTransformerv2/num_decoder_layers", 6, ["num_decoder_layers", "num_layers"]),
    ("RTDETRTransformerv2/feat_channels", [384, 384, 384], ["feat_channels", "[256, 256, 256]"]),
    ("RTDETRTransformerv2/num_points", [4, 4], ["num_points", "3 counts"]),
    ("RTDETRTransformerv2/num_levels", 4, ["num_levels is 4"]),
    (
        "RTDETRTransformerv2/query_select_method",
        "agnostic",
        ["query_select_method is 'agnostic'", "not written here"],
    ),
    ("RTDETRTransformerv2/learn_query_content", True, ["learn_query_content is True"]),
    ("RTDETRTransformerv2/cross_attn_method", "nearest", ["cross_attn_method is 'nearest'", "'discrete'"]),
    ("RTDETRTransformerv2/num_classes", 91, ["num_classes is 91", "top-level"]),
    ("RTDETRPostProcessor", {"num_top_queries": 100}, ["num_top_queries is 100", "300"]),
    ("RTDETRCriterionv2/boxes_weight_format", "ciou", ["boxes_weight_format is 'ciou'", "None or 'iou' or 'giou'"]),
    ("RTDETRCriterionv2/share_matched_indices", 1, ["share_matched_indices is 1", "expected bool"]),
    ("RTDETRCriterionv2/losses", ["vfl", "boxes", "masks"], ["losses", "masks is not among focal, vfl, boxes"]),
    ("RTDETRCriterionv2/losses", ["labels", "boxes"], ["losses", "labels is not among focal, vfl, boxes"]),
    ("RTDETRCriterionv2/losses", ["cardinality"], ["losses", "cardinality is not among"]),
    ("RTDETRCriterionv2/eos_coef", 0.1, ["eos_coef", "no key"]),
    ("RTDETRCriterionv2/weight_dict/loss_bce", 1, ["weight_dict.loss_bce", "no key"]),
    ("RTDETRCriterionv2/matcher/type", "Greedy", ["matcher.type is 'Greedy'"]),
    ("RTDETRCriterionv2/matcher/weight_dict", 2, ["weight_dict is 2", "expected dict"]),
    ("use_focal_loss", 0, ["use_focal_loss is 0", "expected bool"]),
    ("HungarianMatcher", {"alpha": 0.5}, ["HungarianMatcher", "keep one"]),
    ("optimizer/type", "Adagrad", ["part1.yml: optimizer.type", "'Adagrad'", "'AdamW' or 'Adam' or 'SGD'"]),
    ("optimizer/type", "SGD", ["part1.yml: optimizer.betas", "no key"]),
    ("optimizer/amsgrad", True, ["optimizer.amsgrad is True"]),
    ("optimizer/lr", "fast", ["optimizer.lr", "part1.yml", "'fast'", "float"]),
    ("optimizer/params/0/params", "(", ["ParameterGroup.pattern", "regular expression"]),
    ("optimizer/params/1/wd", 0, ["optimizer.params[1].wd", "part1.yml"]),
    ("optimizer/params", "backbone", ["optimizer.params", "expected list"]),
    ("optimizer/params/0", "backbone", ["optimizer.params[0]", "expected dict"]),
    ("lr_scheduler/type", "StepLR", ["lr_scheduler.type", "'MultiStepLR'"]),
    ("lr_scheduler/type", "OneCycleLR", ["lr_scheduler.cycle_momentum", "left out, which means True"]),
    ("lr_scheduler/type", "CosineAnnealingLR", ["lr_scheduler.T_max is missing"]),
    ("ema/decay", 2, ["ema_decay is 2.0"]),
    ("epoches", None, ["epoches is None", "expected int"]),
    ("resume", "last.pth", ["resume is 'last.pth'", "None"]),
    ("remap_mscoco_category", "no", ["remap_mscoco_category is 'no'", "expected bool"]),
    ("train_dataloader/batch_size", 4, ["batch_size is 4", "total_batch_size"]),
    ("train_dataloader/shuffle", False, ["shuffle is False"]),
    ("train_dataloader/collate_fn/stop_epoch", 0, ["stop_epoch is 0", "never"]),
    ("train_dataloader/collate_fn/scales", 640, ["scales is 640", "list"]),
    ("train_dataloader/dataset/type", "Objects365", ["dataset.type is 'Objects365'", "'CocoDetection'"]),
    (f"{TRANSFORMS}/policy/ops", STRONG[:2], ["policy.ops", "all three"]),
    (f"{TRANSFORMS}/ops/0/type", "RandomBlur", ["ops[0].type", "'RandomBlur'", "in this order"]),
    (f"{TRANSFORMS}/ops/1/fill", 114, ["ops[1].fill is 114"]),
    (f"{TRANSFORMS}/ops/3/min_size", 2, ["one min_size"]),
    (f"{TRANSFORMS}/ops/3", {"type": "RandomHorizontalFlip"}, ["ops[3].type", "SanitizeBoundingBoxes has to come"]),
    (f"{TRANSFORMS}/ops/4/type", "RandomIoUCrop", ["ops[4].type", "in this order"]),
    (f"{TRANSFORMS}/ops/5/size", 640, ["ops[5].size is 640", "list"]),
    (f"{TRANSFORMS}/ops/8", {"type": "RandomHorizontalFlip"}, ["ops[8].type"]),
    (f"{TRANSFORMS}/ops", None, ["ops", "expected list"]),
    (f"{TRANSFORMS}/ops", [], ["ends without SanitizeBoundingBoxes"]),
    ("val_dataloader/dataset/transforms/ops/0/size", [800, 800], ["val_dataloader", "[800, 800]", "[640, 640]"]),
]


@pytest.mark.parametrize(
    ("path", "value", "fragments"), REFUSED_V2, ids=[f"{p}={v}"[:60] for p, v, _ in REFUSED_V2]
)
def test_refuses(path: str, value: Any, fragments: list[str], tmp_path: Path) -> None:
    parts = r50vd_v2()
    setting(path, value)(parts)
    _refused(write(tmp_path, parts), fragments)


@pytest.mark.parametrize(
    ("path", "value", "fragments"),
    [
        ("RTDETRTransformer/num_layers", 6, ["RTDETRTransformer.num_layers", "num_decoder_layers"]),
        ("RTDETRTransformer/num_decoder_points", [4, 4, 4], ["num_decoder_points", "int"]),
        ("RTDETRTransformer/cross_attn_method", "discrete", ["cross_attn_method", "no key"]),
        ("RTDETR/decoder", "RTDETRTransformerv2", ["RTDETR.decoder", "'RTDETRTransformer'"]),
        ("HybridEncoder/version", "v1", ["HybridEncoder.version", "no key"]),
        ("lr_warmup_scheduler", {"type": "LinearWarmup"}, ["lr_warmup_scheduler", "no key"]),
        ("train_dataloader/collate_fn", {"scales": []}, ["collate_fn", "'default_collate_fn'"]),
        (f"{TRANSFORMS}/policy", {"name": "stop_epoch"}, ["transforms.policy", "no key"]),
    ],
)
def test_version_1_refuses_what_its_code_does_not_read(
    path: str, value: Any, fragments: list[str], tmp_path: Path
) -> None:
    parts = r50vd_v1()
    setting(path, value)(parts)
    _refused(write(tmp_path, parts), fragments)


@pytest.mark.parametrize("key", ["RTDETR", "model", "criterion", "epoches", "optimizer", "ema", "train_dataloader"])
def test_what_is_left_out_and_has_no_default(key: str, tmp_path: Path) -> None:
    parts = [{k: v for k, v in part.items() if k != key} for part in r50vd_v2()]
    _refused(write(tmp_path, parts), ["missing", key if key != "ema" else "ema.type"])


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("__include__: [nowhere.yml]\n", ["'nowhere.yml'", "no file"]),
        ("__include__: nowhere.yml\n", ["__include__ is 'nowhere.yml'", "expected a list"]),
        ("__include__: [3]\n", ["__include__ is [3]", "expected a list"]),
        ("__include__: [mine.yml]\n", ["includes itself", "mine.yml -> "]),
        ("__include__: [include/empty.yml]\n", ["empty.yml is empty"]),
        ("__include__: [include/broken.yml]\n", ["broken.yml:2:1", "not valid YAML"]),
        ("__include__: [include/binary.yml]\n", ["binary.yml is not text"]),
        ("__include__: [include]\n", ["'include'", "no file"]),
        ("optimizer: {type: AdamW}\n", ["no complete config", "includes it"]),
        ("epoches: 3\nepoches: 4\n", ["mine.yml:2:1", "second time"]),
    ],
)
def test_bad_files(text: str, fragments: list[str], tmp_path: Path) -> None:
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "empty.yml").write_text("")
    (tmp_path / "include" / "broken.yml").write_text("optimizer: {type: AdamW\n")
    (tmp_path / "include" / "binary.yml").write_bytes(b"\x93NUMPY\x01\x00\xff")
    (tmp_path / "mine.yml").write_text(text)
    _refused(tmp_path / "mine.yml", fragments)


def _refused(path: Path, fragments: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(str(path))
    for fragment in fragments:
        assert fragment in str(caught.value)
    assert str(path.parent) in str(caught.value)
