"""Official YAML files give the specs of the presets; keys beyond the spec are listed or refused."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

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
from frameworks.tests.official_form import Config, r50vd_v1, r50vd_v2, write

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


@pytest.mark.parametrize("left_out", [False, True])
def test_without_the_remap_the_categories_are_those_of_the_data(tmp_path: Path, left_out: bool) -> None:
    parts = r50vd_v2()
    parts[0] |= {"num_classes": 12, "remap_mscoco_category": False}
    if left_out:
        del parts[0]["remap_mscoco_category"]
    spec = load(tmp_path, parts).spec
    assert (spec.data.dataset, spec.data.categories, spec.model.num_classes) == ("custom", (), 12)


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


@pytest.mark.parametrize(
    ("section", "value", "fields"),
    [
        (
            "optimizer",
            {"type": "SGD", "params": [], "lr": 0.01, "momentum": 0.9, "nesterov": True},
            {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "groups": (ParameterGroup("", 0.01, 0.0),)},
        ),
        (
            "optimizer",
            {"type": "Adam", "params": [{"params": "backbone", "lr": 0}], "betas": [0.8, 0.9]},
            {
                "optimizer": "adam",
                "betas": (0.8, 0.9),
                "groups": (ParameterGroup("backbone", 0.0, 0.0), ParameterGroup("", 1e-3, 0.0)),
            },
        ),
        (
            "lr_scheduler",
            {"type": "CosineAnnealingLR", "T_max": 60, "eta_min": 1e-6},
            {"schedule": "cosine", "schedule_length": 60, "min_lr": 1e-6},
        ),
        (
            "lr_scheduler",
            {"type": "OneCycleLR", "max_lr": 0.01, "epochs": 72, "steps_per_epoch": 1, "cycle_momentum": False},
            {"schedule": "onecycle", "schedule_length": 72, "pct_start": 0.3, "div_factor": 25.0},
        ),
        (
            "lr_scheduler",
            {"type": "OneCycleLR", "max_lr": [0.1, 0.2, 0.3], "total_steps": 5, "cycle_momentum": False},
            {"schedule": "onecycle", "schedule_length": 5},
        ),
    ],
)
def test_optimizers_and_schedules(tmp_path: Path, section: str, value: Config, fields: Config) -> None:
    parts = r50vd_v2()
    parts[1][section] = value
    recipe = load(tmp_path, parts).spec.recipe
    assert {name: getattr(recipe, name) for name in fields} == fields
    if "max_lr" in value:
        several = value["max_lr"] if isinstance(value["max_lr"], list) else [value["max_lr"]] * 3
        assert [group.lr for group in recipe.groups] == several, "the cycle's rates replace those of the groups"


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
