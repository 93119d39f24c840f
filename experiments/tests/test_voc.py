"""Pascal VOC's layout is read as the official code reads it."""

from pathlib import Path

import pytest
from PIL import Image

from experiments.data.source import resolve_source
from experiments.data.splits import load_splits
from experiments.data.voc import LABELS, VOC_NAMES, is_voc, load_voc_split
from experiments.tests.data_sets import shapes, user_error, voc_object, voc_year

CAT = voc_object("cat", (10, 5, 40.5, 30))
HARD = voc_object("tvmonitor", (0, 0, 20, 20), difficult=1)


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """VOCdevkit with 2007, whose test split is public, and 2012."""
    lists = {"train": ["000001"], "val": ["000002"], "trainval": ["000001", "000002"], "test": ["000003"]}
    objects = {"000001": [CAT, HARD], "000002": [], "000003": [HARD]}
    voc_year(tmp_path / "VOCdevkit" / "VOC2007", lists, objects)
    later = {"train": ["2008_000001"], "val": ["2008_000002"], "trainval": ["2008_000001", "2008_000002"]}
    voc_year(tmp_path / "VOCdevkit" / "VOC2012", later, {"2008_000001": [CAT], "2008_000002": [CAT]})
    return tmp_path


def test_all_years_train_and_the_test_split_validates(kit: Path) -> None:
    splits = load_splits(kit)
    names = {name: [each.file_name for each in split.images.values()] for name, split in splits.items()}
    years = {year: f"VOCdevkit/VOC{year}/JPEGImages" for year in (2007, 2012)}
    assert names["train"] == [
        *(f"{years[2007]}/00000{n}.jpg" for n in (1, 2)),
        *(f"{years[2012]}/2008_00000{n}.jpg" for n in (1, 2)),
    ]
    assert names["val"] == [f"{years[2007]}/000003.jpg"]
    assert splits["train"].classes.names == VOC_NAMES and len(VOC_NAMES) == 20
    source = resolve_source(str(kit), train_count=1, val_count=1, seed=0)
    assert source.kind == "voc-folder" and "Pascal VOC" in source.sentence


def test_objects_are_those_of_the_file_and_difficult_ones_count(kit: Path) -> None:
    split = load_voc_split(kit, "train")
    cat, monitor = split.annotations[1]
    assert (cat.bbox_xywh, cat.area, cat.category_id) == ((10, 5, 30.5, 25), 30.5 * 25, VOC_NAMES.index("cat"))
    assert (monitor.category_id, monitor.iscrowd) == (19, False)
    assert split.annotations[2] == () and [each.id for each in split.annotations[3]] == [3]
    (finding,) = split.findings
    assert finding.count == 1 and "difficult" in finding.reason and "tvmonitor in 000001.xml" in finding.example


def test_one_year_alone_takes_its_train_and_val_lists(tmp_path: Path) -> None:
    lists = {"train": ["a"], "val": ["b"], "trainval": ["a", "b"]}
    root = voc_year(tmp_path / "mine", lists, {"a": [CAT], "b": [CAT]})
    assert [len(split.images) for split in load_splits(root).values()] == [1, 1]
    assert load_voc_split(root, "val").images[1].file_name == "JPEGImages/b.jpg"


def test_the_official_lists_and_names(kit: Path) -> None:
    year = "VOCdevkit/VOC2007"
    line = f"{year}/JPEGImages/000001.jpg {year}/Annotations/000001.xml\n"
    (kit / "trainval.txt").write_text(line)
    (kit / "test.txt").write_text(line.replace("000001", "000003"))
    (kit / LABELS).write_text("tvmonitor\ncat\n")
    split = load_voc_split(kit, "train")
    assert [each.category_id for each in split.annotations[1]] == [1, 0]
    assert load_voc_split(kit, "val").images[1].file_name == f"{year}/JPEGImages/000003.jpg"
    (kit / "test.txt").write_text("000003\n")
    user_error(lambda: load_voc_split(kit, "val"), kit / "test.txt", "'000003'", "IMAGE XML")


def test_a_size_that_a_tool_left_out_is_that_of_the_image(kit: Path) -> None:
    path = kit / "VOCdevkit/VOC2007/Annotations/000001.xml"
    path.write_text(path.read_text().replace("<width>60</width>", "<width>0</width>"))
    Image.new("RGB", (50, 30)).save(kit / "VOCdevkit/VOC2007/JPEGImages/000001.jpg")
    assert (load_voc_split(kit, "train").images[1].width, load_voc_split(kit, "train").images[1].height) == (50, 30)


ENTITIES = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(9))
LAUGHS = f'<!DOCTYPE a [<!ENTITY e0 "ha">{ENTITIES}]><annotation><name>&e9;</name>'


@pytest.mark.parametrize("line", ["/etc/passwd x.xml", "../a.jpg b.xml", "a.jpg c/../../b.xml"])
def test_lists_stay_inside_the_data_set(kit: Path, line: str) -> None:
    (kit / "trainval.txt").write_text(f"{line}\n")
    (kit / "test.txt").write_text(f"{line}\n")
    user_error(lambda: load_voc_split(kit, "train"), kit / "trainval.txt", "leaves the data set")


@pytest.mark.parametrize(
    ("old", "new", "fragments"),
    [
        ("<name>cat</name>", "<name>helmet</name>", ["'helmet'", LABELS]),
        ("<xmin>10</xmin>", "<xmin>left</xmin>", ["a cat", "'left'"]),
        ("<xmin>10</xmin>", "", ["a cat", "xmin holds None"]),
        ("<difficult>0</difficult>", "<difficult>maybe</difficult>", ["difficult is 'maybe'"]),
        ("</annotation>", "", ["not valid XML"]),
        ("<annotation>", '<?xml version="1.0" encoding="utf-7"?><annotation>', ["not valid XML", "encod"]),
        ("<annotation>", '<?xml version="1.0" encoding="none-such"?><annotation>', ["not valid XML"]),
        ("<annotation>", LAUGHS, ["not valid XML", "amplification"]),
        ("<width>60</width>", "<width>wide</width>", ["'wide'"]),
    ],
)
def test_errors_name_the_file(kit: Path, old: str, new: str, fragments: list[str]) -> None:
    path = kit / "VOCdevkit/VOC2007/Annotations/000001.xml"
    path.write_text(path.read_text().replace(old, new))
    user_error(lambda: load_voc_split(kit, "train"), path, *fragments)


def test_missing_files(kit: Path) -> None:
    path = kit / "VOCdevkit/VOC2007/Annotations/000003.xml"
    path.unlink()
    user_error(lambda: load_voc_split(kit, "val"), path, "cannot read")
    (kit / "VOCdevkit/VOC2007/ImageSets/Main/test.txt").write_text("\n")
    user_error(lambda: load_voc_split(kit, "val"), "test.txt", "lists no image")
    (kit / "VOCdevkit/VOC2012/ImageSets/Main/trainval.txt").unlink()
    user_error(lambda: load_voc_split(kit, "train"), "trainval.txt", "cannot read")


def test_other_folders_are_not_vocs(tmp_path: Path) -> None:
    assert not is_voc(shapes(tmp_path)) and not is_voc(tmp_path)
