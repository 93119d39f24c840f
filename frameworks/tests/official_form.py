"""Configs in the official form for tests, as data: three parts that a main file includes."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

Config = dict[str, Any]

SCALES = [480, 512, 544, 576, 608, 640, 640, 640, 672, 704, 736, 768, 800]
LOSS = {
    "weight_dict": {"loss_vfl": 1, "loss_bbox": 5, "loss_giou": 2},
    "losses": ["vfl", "boxes"],
    "alpha": 0.75,
    "gamma": 2.0,
    "matcher": {
        "type": "HungarianMatcher",
        "weight_dict": {"cost_class": 2, "cost_bbox": 5, "cost_giou": 2},
        "alpha": 0.25,
        "gamma": 2.0,
    },
}
STRONG = ["RandomPhotometricDistort", "RandomZoomOut", "RandomIoUCrop"]


def _operations(sanitize: str) -> list[Config]:
    return [
        {"type": "RandomPhotometricDistort", "p": 0.5},
        {"type": "RandomZoomOut", "fill": 0},
        {"type": "RandomIoUCrop", "p": 0.8},
        {"type": sanitize, "min_size": 1},
        {"type": "RandomHorizontalFlip"},
        {"type": "Resize", "size": [640, 640]},
    ]


def _data(operations: list[Config], validation: list[Config], train: Config) -> Config:
    """The data part, with the batch of ``train``."""
    places = {"type": "CocoDetection", "img_folder": "images", "ann_file": "boxes.json"}
    return {
        "task": "detection",
        "num_classes": 80,
        "remap_mscoco_category": True,
        "train_dataloader": {
            "type": "DataLoader",
            "dataset": {**places, "transforms": {"type": "Compose", "ops": operations}},
            "shuffle": True,
            "drop_last": True,
            "num_workers": 4,
            **train,
        },
        "val_dataloader": {
            "type": "DataLoader",
            "dataset": {**places, "transforms": {"type": "Compose", "ops": validation}},
            "num_workers": 4,
        },
    }


def _recipe(patterns: list[Config]) -> Config:
    return {
        "use_ema": True,
        "ema": {"type": "ModelEMA", "decay": 0.9999, "warmups": 2000},
        "epoches": 72,
        "clip_max_norm": 0.1,
        "optimizer": {
            "type": "AdamW",
            "params": patterns,
            "lr": 0.0001,
            "betas": [0.9, 0.999],
            "weight_decay": 0.0001,
        },
        "lr_scheduler": {"type": "MultiStepLR", "milestones": [1000], "gamma": 0.1},
        "sync_bn": True,
    }


def _model(criterion: str, decoder: str, decoder_fields: Config) -> Config:
    """The model part: R50, and an encoder with the defaults of its class."""
    return {
        "model": "RTDETR",
        "criterion": criterion,
        "postprocessor": "RTDETRPostProcessor",
        "use_focal_loss": True,
        "RTDETR": {"backbone": "PResNet", "encoder": "HybridEncoder", "decoder": decoder},
        "PResNet": {"depth": 50, "freeze_at": 0, "return_idx": [1, 2, 3], "pretrained": True},
        "HybridEncoder": {"in_channels": [512, 1024, 2048], "depth_mult": 1},
        decoder: {"feat_channels": [256, 256, 256], **decoder_fields},
        criterion: deepcopy(LOSS),  # tests change it
    }


def r50vd_v1() -> list[Config]:
    """The parts of a config with the meaning of the preset ``rtdetr_r50vd``."""
    decoded = [{"type": "ToImageTensor"}, {"type": "ConvertDtype"}]
    last = [
        {"type": "SanitizeBoundingBox", "min_size": 1},
        {"type": "ConvertBox", "out_fmt": "cxcywh", "normalize": True},
    ]
    train = {"batch_size": 4, "collate_fn": "default_collate_fn"}
    resize = [{"type": "Resize", "size": [640, 640]}]
    patterns = [
        {"params": "backbone", "lr": 0.00001},
        {"params": "^(?=.*encoder(?=.*bias|.*norm.*weight)).*$", "weight_decay": 0.0},
        {"params": "^(?=.*decoder(?=.*bias|.*norm.*weight)).*$", "weight_decay": 0.0},
    ]
    model = _model("SetCriterion", "RTDETRTransformer", {"num_decoder_layers": 6, "eval_spatial_size": [640, 640]})
    model["RTDETR"]["multi_scale"] = SCALES
    data = _data([*_operations("SanitizeBoundingBox"), *decoded, *last], [*resize, *decoded], train)
    return [data, _recipe(patterns), model]


def r50vd_v2() -> list[Config]:
    """The parts of a config with the meaning of the preset ``rtdetrv2_r50vd``."""
    convert = {"type": "ConvertPILImage", "dtype": "float32", "scale": True}
    last = [{"type": "SanitizeBoundingBoxes", "min_size": 1}, convert, {"type": "ConvertBoxes", "fmt": "cxcywh"}]
    last[-1]["normalize"] = True
    train = {
        "total_batch_size": 16,
        "collate_fn": {"type": "BatchImageCollateFunction", "scales": SCALES, "stop_epoch": 71},
    }
    patterns = [
        {"params": "^(?=.*backbone)(?!.*norm).*$", "lr": 0.00001},
        {"params": "^(?=.*(?:encoder|decoder))(?=.*(?:norm|bn)).*$", "weight_decay": 0.0},
    ]
    resize = [{"type": "Resize", "size": [640, 640]}]
    data = _data([*_operations("SanitizeBoundingBoxes"), *last], [*resize, convert], train)
    policy = {"name": "stop_epoch", "epoch": 71, "ops": STRONG}
    data["train_dataloader"]["dataset"]["transforms"]["policy"] = policy
    recipe = _recipe(patterns) | {"lr_warmup_scheduler": {"type": "LinearWarmup", "warmup_duration": 2000}}
    model = _model("RTDETRCriterionv2", "RTDETRTransformerv2", {"num_layers": 6, "num_points": [4, 4, 4]})
    return [data, recipe, model | {"eval_spatial_size": [640, 640]}]


def write(folder: Path, parts: list[Config], main: Config | None = None, name: str = "mine.yml") -> Path:
    """Write the parts to ``include/`` and a main file that includes them in order; returns the main file."""
    (folder / "include").mkdir(parents=True, exist_ok=True)
    names = [f"include/part{number}.yml" for number in range(len(parts))]
    for part_name, part in zip(names, parts, strict=True):
        (folder / part_name).write_text(yaml.safe_dump(part, sort_keys=False), encoding="utf-8")
    text = yaml.safe_dump(
        {"__include__": [f"./{part_name}" for part_name in names], **(main or {})}, sort_keys=False
    )
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def setting(path: str, value: Any) -> Callable[[list[Config]], None]:
    """A function that sets the key of the path ``a/b/c`` in the part that has it."""
    *parents, last = path.split("/")

    def change(parts: list[Config]) -> None:
        place: Any = next((part for part in parts if path.partition("/")[0] in part), parts[0])
        for parent in parents:
            place = place[int(parent) if isinstance(place, list) else parent]
        place[int(last) if isinstance(place, list) else last] = value

    return change
