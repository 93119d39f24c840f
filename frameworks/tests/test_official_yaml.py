"""Official YAML files give the specs of the presets; keys beyond the spec are listed or refused."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from frameworks.config import (
    DLASpec,
    LoadedSpec,
    ParameterGroup,
    RegNetSpec,
    SpecError,
    dump_yaml,
    load_official,
    load_spec,
    load_yaml,
    preset,
)
from frameworks.tests.official_form import STRONG, Config, r50vd_v1, r50vd_v2, setting, write

TRANSFORMS = "train_dataloader/dataset/transforms"
Parts = Callable[[], list[Config]]


def load(folder: Path, parts: list[Config], main: Config | None = None, name: str = "mine.yml") -> LoadedSpec:
    return load_official(write(folder, parts, main, name))


def keys(config: LoadedSpec) -> dict[str, str]:
    return {entry.key: entry.why for entry in config.left_aside}


@pytest.mark.parametrize(("parts", "name"), [(r50vd_v1, "rtdetr_r50vd"), (r50vd_v2, "rtdetrv2_r50vd")])
def test_config_equals_its_preset(parts: Parts, name: str, tmp_path: Path) -> None:
    assert load(tmp_path, parts(), name=f"{name}.yml").spec == preset(name)


SMALL = {
    "PResNet": {"depth": 18, "freeze_at": -1, "freeze_norm": False},
    "HybridEncoder": {"in_channels": [128, 256, 512], "expansion": 0.5},
}
LARGE = {"HybridEncoder": {"hidden_dim": 384, "dim_feedforward": 2048}}


def stops(epoch: int) -> Config:
    return {"dataset": {"transforms": {"policy": {"epoch": epoch}}}, "collate_fn": {"stop_epoch": epoch}}


@pytest.mark.parametrize(
    ("parts", "name", "main"),
    [
        (r50vd_v1, "rtdetr_r50vd_m", {"HybridEncoder": {"expansion": 0.5}, "RTDETRTransformer": {"eval_idx": 2}}),
        (
            r50vd_v1,
            "rtdetr_r101vd",
            LARGE
            | {"PResNet": {"depth": 101}, "RTDETRTransformer": {"feat_channels": [384] * 3}}
            | {"optimizer": {"params": [{"params": "backbone", "lr": 1e-6}]}},
        ),
        (
            r50vd_v2,
            "rtdetrv2_r18vd_sp1",
            SMALL
            | {"RTDETRTransformerv2": {"num_layers": 3, "num_points": 1}, "epoches": 120}
            | {"optimizer": {"params": [{"params": "^(?=.*(?:norm|bn)).*$", "weight_decay": 0.0}]}}
            | {"train_dataloader": {**stops(117), "collate_fn": {"scales": None}}},
        ),
        (
            r50vd_v2,
            "rtdetrv2_r50vd_dsp",
            {"RTDETRTransformerv2": {"cross_attn_method": "discrete"}, "epoches": 12, "train_dataloader": stops(10)}
            | {"tuning": preset("rtdetrv2_r50vd_dsp").recipe.tuning},
        ),
        (
            r50vd_v2,
            "rtdetrv2_hgnetv2_x",
            LARGE
            | {"RTDETR": {"backbone": "HGNetv2"}, "HGNetv2": {"name": "X"}}
            | {"RTDETRTransformerv2": {"feat_channels": [384] * 3}}
            | {
                "optimizer": {
                    "params": [
                        {"params": "^(?=.*backbone)(?!.*norm|bn).*$", "lr": 1e-6},
                        {"params": "^(?=.*(?:encoder|decoder))(?=.*(?:norm|bn)).*$", "weight_decay": 0},
                    ]
                }
            },
        ),
    ],
)
def test_main_file_changes_what_it_includes(parts: Parts, name: str, main: Config, tmp_path: Path) -> None:
    assert load(tmp_path, parts(), main, name=f"{name}.yml").spec == preset(name)


def test_version_1_in_the_repository_of_version_2(tmp_path: Path) -> None:
    """Other names for the same keys, a warm-up, and sizes drawn by the data loader."""
    parts = r50vd_v2()
    data, recipe, model = parts
    model["RTDETRCriterion"] = model.pop("RTDETRCriterionv2")
    model["RTDETRTransformer"] = {"num_layers": 6, "num_points": 4, "feat_channels": [256] * 3}
    model |= {"criterion": "RTDETRCriterion", "RTDETR": model["RTDETR"] | {"decoder": "RTDETRTransformer"}}
    model["HybridEncoder"]["version"] = "v1"
    del (
        data["train_dataloader"]["dataset"]["transforms"]["policy"],
        data["train_dataloader"]["collate_fn"]["stop_epoch"],
    )
    recipe["optimizer"]["params"] = [
        {"params": "^(?=.*backbone)(?!.*(?:norm|bn)).*$", "lr": 0.00001},
        {"params": "^(?=.*backbone)(?=.*(?:norm|bn)).*$", "lr": 0.00001, "weight_decay": 0.0},
        {"params": "^(?=.*(?:encoder|decoder))(?=.*(?:norm|bn|bias)).*$", "weight_decay": 0.0},
    ]
    assert load(tmp_path, parts, name="rtdetr_r50vd_v2code.yml").spec == preset("rtdetr_r50vd_v2code")


def test_voc(tmp_path: Path) -> None:
    parts = r50vd_v2()
    del parts[0]["remap_mscoco_category"]
    parts[0]["num_classes"] = 20
    for loader in ("train_dataloader", "val_dataloader"):
        parts[0][loader]["dataset"] |= {"type": "VOCDetection", "root": "voc", "label_file": "labels.txt"}
    spec = load(tmp_path, parts).spec
    assert (spec.data.dataset, spec.model.num_classes) == ("voc", 20)


def test_dla_and_regnet_ignore_what_the_official_code_ignores(tmp_path: Path) -> None:
    parts = r50vd_v1()
    parts[2]["HybridEncoder"]["in_channels"] = [128, 256, 512]
    dla = load(
        tmp_path, parts, {"RTDETR": {"backbone": "DLANet"}, "DLANet": {"dla": "dla34", "return_idx": [0, 1]}}
    )
    assert dla.spec.model.backbone == DLASpec()
    assert "return_index" in keys(dla)["DLANet.return_idx"]
    assert "does not take" in keys(dla)["PResNet"], "the section of the backbone that is not used"
    parts[2]["HybridEncoder"]["in_channels"] = [192, 512, 1088]
    section = {"return_idx": [3], "configuration": "RegNetConfig()"}
    regnet = load(tmp_path, parts, {"RTDETR": {"backbone": "RegNet"}, "RegNet": section})
    assert regnet.spec.model.backbone == RegNetSpec()
    assert {"RegNet.return_idx", "RegNet.configuration"} <= keys(regnet).keys()


def test_account_of_what_is_left_aside(tmp_path: Path) -> None:
    main = {"output_dir": "./out", "use_amp": True, "find_unused_parameters": True, "print_freq": 5}
    left_aside = keys(load(tmp_path, r50vd_v1(), main))
    assert left_aside.keys() == {
        "output_dir",
        "use_amp",
        "find_unused_parameters",
        "print_freq",
        "sync_bn",
        "PResNet.pretrained",
        "train_dataloader.batch_size",
        "train_dataloader.num_workers",
        "train_dataloader.dataset.img_folder",
        "train_dataloader.dataset.ann_file",
        "val_dataloader.type",
        "val_dataloader.num_workers",
        "val_dataloader.dataset.type",
        "val_dataloader.dataset.img_folder",
        "val_dataloader.dataset.ann_file",
    }
    assert "4 is the share of one GPU" in left_aside["train_dataloader.batch_size"]
    assert "16" in left_aside["train_dataloader.batch_size"]
    assert all(left_aside.values())


def test_left_out_values_are_those_of_the_official_classes(tmp_path: Path) -> None:
    parts = r50vd_v2()
    _, recipe, model = parts
    for key in ("alpha", "gamma"):
        model["RTDETRCriterionv2"] = {k: v for k, v in model["RTDETRCriterionv2"].items() if k != key}
    for key in ("lr_scheduler", "lr_warmup_scheduler", "clip_max_norm"):
        del recipe[key]
    recipe["optimizer"] = {"type": "AdamW", "params": [{"params": "backbone"}]}
    recipe["use_ema"] = False
    spec = load(tmp_path, parts).spec
    assert (spec.criterion.alpha, spec.criterion.gamma) == (0.2, 2.0)
    assert (spec.recipe.milestones, spec.recipe.warmup_steps, spec.recipe.clip_max_norm) == ((), 0, 0.0)
    assert spec.recipe.groups == (ParameterGroup("backbone", 1e-3, 1e-2), ParameterGroup("", 1e-3, 1e-2))
    assert spec.recipe.ema_decay == 0.0, "an average that is the model itself"


def test_random_operations_that_are_left_out_never_happen(tmp_path: Path) -> None:
    parts = r50vd_v2()
    operations = parts[0]["train_dataloader"]["dataset"]["transforms"]["ops"]
    del operations[:2], operations[2], operations[0]["p"]
    augmentation = load(tmp_path, parts).spec.data.augmentation
    assert (augmentation.photometric_distort, augmentation.zoom_out, augmentation.horizontal_flip) == (0, 0, 0)
    assert augmentation.iou_crop == 1.0, "the default of the official class"


def test_includes_merge_in_order(tmp_path: Path) -> None:
    """Later files replace earlier ones, and the file itself comes last; mappings are merged, lists replaced."""
    parts = r50vd_v1()
    groups = {"params": [{"params": "norm", "weight_decay": 0}]}
    first, second = {"epoches": 1, "optimizer": {"lr": 1e-3}}, {"epoches": 2, "optimizer": groups}
    spec = load(tmp_path, [*parts, first, second], {"optimizer": {"weight_decay": 0.5}}).spec
    assert spec.recipe.epochs == 2
    assert spec.recipe.groups == (ParameterGroup("norm", 1e-3, 0.0), ParameterGroup("", 1e-3, 0.5))
    outer = tmp_path / "outer" / "deeper.yml"
    outer.parent.mkdir()
    outer.write_text("__include__: [../mine.yml]\nepoches: 7\n")
    expected = dataclasses.replace(spec, name="deeper", recipe=dataclasses.replace(spec.recipe, epochs=7))
    assert load_spec(str(outer)) == expected


def test_official_file_becomes_one_of_ours(tmp_path: Path) -> None:
    path = write(tmp_path, r50vd_v2())
    (tmp_path / "ours.yml").write_text(dump_yaml(load_spec(str(path))))
    assert load_yaml(tmp_path / "ours.yml") == load_official(path).spec
    (tmp_path / "child.yml").write_text("inherit: mine.yml\n")
    with pytest.raises(
        SpecError, match=r"child\.yml: inherit names .*mine\.yml, which has the official form; convert"
    ):
        load_spec(str(tmp_path / "child.yml"))


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
    ("RTDETRCriterionv2/boxes_weight_format", "iou", ["boxes_weight_format is 'iou'", "None"]),
    ("RTDETRCriterionv2/share_matched_indices", True, ["share_matched_indices is True"]),
    ("RTDETRCriterionv2/losses", ["vfl", "boxes", "masks"], ["losses", "'masks'"]),
    ("RTDETRCriterionv2/weight_dict/loss_bce", 1, ["weight_dict.loss_bce", "no key"]),
    ("RTDETRCriterionv2/matcher/type", "Greedy", ["matcher.type is 'Greedy'"]),
    ("RTDETRCriterionv2/matcher/weight_dict", 2, ["weight_dict is 2", "expected dict"]),
    ("use_focal_loss", False, ["use_focal_loss is False", "focal"]),
    ("HungarianMatcher", {"alpha": 0.5}, ["HungarianMatcher", "keep one"]),
    ("optimizer/type", "SGD", ["part1.yml: optimizer.type", "'SGD'", "'AdamW'"]),
    ("optimizer/lr", "fast", ["optimizer.lr", "part1.yml", "'fast'", "float"]),
    ("optimizer/params/0/params", "(", ["ParameterGroup.pattern", "regular expression"]),
    ("optimizer/params/1/wd", 0, ["optimizer.params[1].wd", "part1.yml"]),
    ("optimizer/params", "backbone", ["optimizer.params", "expected list"]),
    ("optimizer/params/0", "backbone", ["optimizer.params[0]", "expected dict"]),
    ("lr_scheduler/type", "OneCycleLR", ["lr_scheduler.type", "'MultiStepLR'"]),
    ("ema/decay", 2, ["ema_decay is 2.0"]),
    ("epoches", None, ["epoches is None", "expected int"]),
    ("resume", "last.pth", ["resume is 'last.pth'", "None"]),
    ("remap_mscoco_category", False, ["remap_mscoco_category", "category ids"]),
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
