"""Which label a category has: COCO's everywhere where the data are COCO's, else one for each listed category."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.data.categories import (
    COCO,
    COCO_CATEGORY_IDS,
    COCO_CATEGORY_NAMES,
    COCO_NAMES,
    Classes,
    classes_named,
    classes_of,
)
from experiments.data.source import Source
from experiments.data.voc import VOC_NAMES
from experiments.runs.classes import classes_line, with_classes
from experiments.tests.data_sets import user_error
from frameworks.config import load_spec, preset

TINY = preset("tiny")
HELMETS = Classes((1, 2), ("helmet", "vest"))
SOURCE = Source("coco-folder", Path("/data"), "images")


def test_cocos_labels_are_the_official_ones() -> None:
    absent = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}  # ids COCO skipped between 1 and 90
    assert list(COCO_CATEGORY_IDS) == [each for each in range(1, 91) if each not in absent]
    assert [COCO.label_of(each) for each in COCO_CATEGORY_IDS] == list(range(80))
    assert [COCO.id_of(label) for label in range(80)] == list(COCO_CATEGORY_IDS)
    assert COCO_CATEGORY_NAMES[COCO.label_of(13)] == "stop sign" == COCO_NAMES[13]


def test_some_of_cocos_categories_have_cocos_labels() -> None:
    assert classes_of({90: "toothbrush", 3: "car"}) is COCO
    assert classes_of({}) is COCO


def test_other_categories_have_labels_in_the_order_of_their_ids() -> None:
    classes = classes_of({7: "vest", 0: "helmet", 3: "car"})
    assert classes == Classes((0, 3, 7), ("helmet", "car", "vest"))
    assert [classes.label_of(each) for each in (0, 3, 7)] == [0, 1, 2]
    assert classes_of({1: "person", 2: "Bicycle"}).ids == (1, 2), "a name of its own is no category of COCO"


def test_named_classes_keep_the_order_of_the_names() -> None:
    classes = classes_named(["background", "helmet", "vest"], {1: "helmet", 2: "vest"})
    assert [classes.label_of(each) for each in (1, 2)] == [1, 2], "as the official code without the remap"
    assert classes.ids[0] not in (1, 2), "a class that the data do not list has an id of its own"
    user_error(lambda: classes_named(["helmet"], {1: "helmet", 2: "vest"}), "'vest' (id 2)", "data.categories")


@pytest.mark.parametrize("label", [-1, 80])
def test_unknown_labels(label: int) -> None:
    user_error(lambda: COCO.id_of(label), f"label {label}", "0..79")


@pytest.mark.parametrize("category", [0, 12, 91])
def test_unknown_categories(category: int) -> None:
    user_error(lambda: COCO.label_of(category), f"category id {category}")


def test_a_preset_takes_the_classes_of_the_data() -> None:
    spec = with_classes(TINY, "tiny", SOURCE, HELMETS)
    assert (spec.model.num_classes, spec.data.dataset) == (2, "custom")
    assert spec.data.categories == ("helmet", "vest")
    assert spec == replace(TINY, model=spec.model, data=spec.data), "and nothing else changes"
    assert with_classes(TINY, "tiny", SOURCE, COCO) == TINY
    voc = with_classes(TINY, "tiny", SOURCE, Classes(tuple(range(20)), VOC_NAMES))
    assert (voc.model.num_classes, voc.data.dataset, voc.data.categories) == (20, "voc", VOC_NAMES)


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("inherit: tiny\nname: mine\n", None),
        ("inherit: tiny\nname: mine\nmodel: {num_classes: 2}\n", None),
        (
            "inherit: tiny\nname: mine\nmodel: {num_classes: 5}\n",
            ["num_classes is 5", "2 (helmet, vest)", "write 2"],
        ),
        ("inherit: tiny\nname: mine\nmodel: {num_classes: 80}\n", ["num_classes is 80", "write 2"]),
        ("inherit: tiny\nname: mine\nmodel: {num_classes: 3}\n", ["ids up to 2 for labels", "labels 0..1"]),
        ("inherit: base.yml\nname: mine\n", ["num_classes is 7"]),
    ],
)
def test_what_a_file_says_is_law(tmp_path: Path, text: str, fragments: list[str] | None) -> None:
    (tmp_path / "base.yml").write_text("inherit: tiny\nname: base\nmodel: {num_classes: 7}\n")
    path = tmp_path / "mine.yml"
    path.write_text(text)
    spec = load_spec(str(path))
    if fragments is None:
        assert with_classes(spec, str(path), SOURCE, HELMETS).model.num_classes == 2
    else:
        user_error(lambda: with_classes(spec, str(path), SOURCE, HELMETS), path, SOURCE.root, *fragments)


def test_what_a_setting_says_is_law() -> None:
    spec = replace(TINY, model=replace(TINY.model, num_classes=5))
    user_error(
        lambda: with_classes(spec, "tiny", SOURCE, HELMETS, ["model.num_classes=5"]), "num_classes is 5", "write 2"
    )


def test_a_preset_for_voc_does_not_train_on_coco() -> None:
    name = "rtdetrv2_r18vd_voc"
    user_error(lambda: with_classes(preset(name), name, SOURCE, COCO), name, "Pascal VOC", "--data")


def test_the_classes_are_said_in_one_line() -> None:
    assert classes_line(COCO) == "classes: COCO's 80, with COCO's labels"
    assert "2 of the data set's own (helmet, vest); category ids 1..2 are labels 0..1" in classes_line(HELMETS)
    assert classes_line(Classes((0, 1), ("a", "b"))).endswith("category ids 0..1 as labels")
