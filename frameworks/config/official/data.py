"""Reads the data-loader sections of an official file as a DataSpec."""

from typing import Any

from frameworks.config.official.section import Section
from frameworks.config.training import AugmentationSpec, DataSpec
from frameworks.config.validation import SpecError

README_GPUS = 4  # the official commands start 4 processes; batch_size is the share of one

LOADING = "how images are read, not which"
WHERE = "which images, and where they are, is chosen where training starts"
SANITIZE = "SanitizeBoundingBoxes"
_RANDOM = {  # operation -> field of AugmentationSpec, default probability of the official class
    "RandomPhotometricDistort": ("photometric_distort", 0.5),
    "RandomZoomOut": ("zoom_out", 0.5),
    "RandomIoUCrop": ("iou_crop", 1.0),
    "RandomHorizontalFlip": ("horizontal_flip", 0.5),
}
STRONG = ("RandomPhotometricDistort", "RandomZoomOut", "RandomIoUCrop")  # what the policy may switch off
_FIXED = {  # operation -> arguments that the spec can express with one value, and that value
    "RandomZoomOut": {"fill": 0},
    "ConvertPILImage": {"dtype": "float32", "scale": True},
    "ConvertBox": {"out_fmt": "cxcywh", "normalize": True},
    "ConvertBoxes": {"fmt": "cxcywh", "normalize": True},
}
_TO_TENSOR = {True: ("ToImageTensor", "ConvertDtype"), False: ("ConvertPILImage",)}  # by legacy
_AFTER_RESIZE = {
    True: (*_TO_TENSOR[True], SANITIZE, "ConvertBox"),
    False: (SANITIZE, *_TO_TENSOR[False], "ConvertBoxes"),
}


def read_data(top: Section, multi_scale: tuple[int, ...] | None, *, legacy: bool) -> DataSpec:
    """Data set, batches and augmentation.

    ``legacy`` tells rtdetr_pytorch, where a batch is a GPU's share and ``multi_scale`` belongs to the model, from
    rtdetrv2_pytorch, where both belong to the data loader.
    """
    with top.section("train_dataloader") as loader:
        loader.only("type", "DataLoader")
        loader.only("shuffle", True)
        loader.only("drop_last", True, why="every training batch is full")
        loader.aside(LOADING, "num_workers")
        batch_size = _read_batch_size(loader)
        scales, scales_stop = ((multi_scale or ()), 0) if legacy else _read_collate(loader)
        if legacy:
            loader.only("collate_fn", "default_collate_fn")
        with loader.section("dataset") as section:
            dataset = _read_dataset(top, section)
            with section.section("transforms") as transforms:
                order = (*STRONG, SANITIZE, "RandomHorizontalFlip", "Resize", *_AFTER_RESIZE[legacy])
                fields, image_size = _read_operations(transforms, order)
                strong_stop = 0 if legacy else _read_policy(transforms)
    _check_validation(top, image_size, legacy=legacy)
    stops = {"strong_stop_epoch": strong_stop, "scales_stop_epoch": scales_stop}
    return DataSpec(dataset, image_size, batch_size, AugmentationSpec(scales=scales, **stops, **fields))


def _read_batch_size(loader: Section) -> int:
    if "total_batch_size" in loader:
        if "batch_size" in loader:
            loader.refuse("batch_size", loader.take("batch_size", int), "total_batch_size is there, too; give one")
        return loader.take("total_batch_size", int)
    share = loader.take("batch_size", int)
    total = share * README_GPUS
    loader.note("batch_size", f"{share} is the share of one GPU; with the {README_GPUS} of the README: {total}")
    return total


def _read_collate(loader: Section) -> tuple[tuple[int, ...], int]:
    with loader.section("collate_fn") as section:
        section.only("type", "BatchImageCollateFunction", "BatchImageCollateFuncion")  # both spellings are official
        return section.optional("scales", tuple[int, ...]) or (), _stop_epoch(section, "stop_epoch")


def _stop_epoch(section: Section, key: str) -> int:
    epoch = section.optional(key, int)
    if epoch == 0:
        section.refuse(
            key, 0, "0 is 'from the start' there and 'never' in the spec; leave out what it switches off"
        )
    return epoch or 0


def _read_dataset(top: Section, section: Section) -> str:
    section.aside(WHERE, "img_folder", "ann_file", "root", "label_file")
    section.only("return_masks", False, default=False, why="boxes alone are learned")
    remap = top.take("remap_mscoco_category", bool, False)
    if section.only("type", "CocoDetection", "VOCDetection") == "VOCDetection":
        top.only("remap_mscoco_category", False, default=False, why="VOC's labels are not COCO's")
        return "voc"
    return "coco" if remap else "custom"


def _read_operations(transforms: Section, order: tuple[str, ...]) -> tuple[dict[str, Any], tuple[int, int]]:
    """Fields of AugmentationSpec (probabilities, smallest box), and the (height, width) of ``Resize`` in pixels."""
    transforms.only("type", "Compose")
    fields = {field: 0.0 for name, (field, _) in _RANDOM.items() if name in order}  # left out: never
    sizes: list[tuple[int, int]] = []
    smallest: list[float] = []
    position = 0
    for operation in transforms.sections("ops"):
        with operation:
            name = operation.take("type", str)
            name = SANITIZE if name == "SanitizeBoundingBox" else name  # torchvision renamed it
            position = _next(operation, name, order, position)
            for key, value in _FIXED.get(name, {}).items():
                operation.only(key, value, default=value)
            if name in _RANDOM:
                field, default = _RANDOM[name]
                fields[field] = operation.take("p", float, default)
            elif name == SANITIZE:
                smallest.append(operation.take("min_size", float, 1.0))
            elif name == "Resize":
                sizes.append(operation.take("size", tuple[int, int]))
    _require_rest(transforms, order, position)
    if smallest and len(set(smallest)) != 1:
        transforms.refuse("ops", smallest, "expected one min_size for both SanitizeBoundingBoxes")
    return fields | ({"min_box_size": smallest[0]} if smallest else {}), sizes[0]


def _next(operation: Section, name: str, order: tuple[str, ...], position: int) -> int:
    """The position after ``name`` in the fixed order. Only random operations may be left out on the way."""
    if name not in order[position:]:
        operation.refuse("type", name, f"expected, in this order: {', '.join(order)}")
    found = order.index(name, position)
    for skipped in order[position:found]:
        if skipped not in _RANDOM:
            operation.refuse("type", name, f"{skipped} has to come before it")
    return found + 1


def _require_rest(transforms: Section, order: tuple[str, ...], position: int) -> None:
    missing = [name for name in order[position:] if name not in _RANDOM]
    if missing:
        raise SpecError(f"{transforms.where('ops')} ends without {missing[0]}; expected {', '.join(order)}")


def _read_policy(transforms: Section) -> int:
    """The epoch from which the strong operations are skipped; 0: never."""
    if "policy" not in transforms:
        return 0
    with transforms.section("policy") as policy:
        if policy.only("name", "stop_epoch", "default") == "default":
            return 0
        operations = policy.take("ops", tuple[str, ...])
        if sorted(operations) != sorted(STRONG):
            policy.refuse("ops", list(operations), f"expected {list(STRONG)}: the spec stops all three at once")
        return _stop_epoch(policy, "epoch")


def _check_validation(top: Section, image_size: tuple[int, int], *, legacy: bool) -> None:
    """Refuse validation images of another size than training images; nothing else here changes a result."""
    if "val_dataloader" not in top:
        return
    keys = ("type", "shuffle", "batch_size", "total_batch_size", "num_workers", "drop_last", "collate_fn")
    with top.section("val_dataloader") as loader:
        loader.aside("every validation image is evaluated once and by itself", *keys)
        with loader.section("dataset") as section:
            section.aside(WHERE, "type", "img_folder", "ann_file", "root", "label_file", "return_masks")
            with section.section("transforms") as transforms:
                _, size = _read_operations(transforms, ("Resize", *_TO_TENSOR[legacy]))
                if size != image_size:
                    transforms.refuse("ops", list(size), f"training images have the size {list(image_size)}")
