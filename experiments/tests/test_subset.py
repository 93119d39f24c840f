"""The choice of a subset, and the manifest that pins it."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.data.coco import CocoSplit, annotation_path, load_split
from experiments.data.manifest import build_manifest, parse_manifest, read_manifest
from experiments.data.subset import choose_subset
from experiments.tests.data_sets import document, real_coco, shapes, split_of, user_error, write

splits = st.dictionaries(st.integers(1, 10_000), st.lists(st.integers(1, 5), max_size=4), min_size=1, max_size=20)


def restricted(split: CocoSplit, ids: list[int]) -> CocoSplit:
    kept = set(ids)
    return replace(
        split,
        images={key: value for key, value in split.images.items() if key in kept},
        annotations={key: value for key, value in split.annotations.items() if key in kept},
    )


@settings(derandomize=True, deadline=None, max_examples=60)
@given(splits, st.integers(0, 5), st.data())
def test_choices_are_nested_and_blind_to_the_order_of_the_file(
    per_image: dict[int, list[int]], seed: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, len(per_image)))
    fewer = data.draw(st.integers(1, count))
    split = split_of(per_image)
    chosen = choose_subset(split, count, seed)
    assert len(set(chosen)) == count and set(chosen) <= set(per_image)
    assert choose_subset(split, fewer, seed) == chosen[:fewer]
    assert choose_subset(restricted(split, chosen), fewer, seed) == chosen[:fewer]
    shuffled = data.draw(st.permutations(list(per_image)))
    assert choose_subset(split_of(per_image, order=shuffled), count, seed) == chosen


def test_rare_categories_come_early() -> None:
    per_image = {image_id: [1] for image_id in range(1, 100)} | {200: [2], 201: [3], 202: []}
    for seed in range(10):
        assert {200, 201, 202} <= set(choose_subset(split_of(per_image), 4, seed))


def test_the_seed_decides() -> None:
    split = split_of({image_id: [1] for image_id in range(1, 100)})
    assert len({tuple(choose_subset(split, 5, seed)) for seed in range(10)}) == 10


def test_the_choice_is_that_of_earlier_versions() -> None:
    """A seed names a subset: in downloaded folders, and in what people have published."""
    per_image = {number: ([1 + number % 3] if number % 4 else []) for number in range(1, 25)}
    assert choose_subset(split_of(per_image), 8, seed=0) == [15, 13, 8, 23, 21, 22, 16, 2]
    assert choose_subset(split_of(per_image), 8, seed=2) == [9, 22, 16, 23, 15, 7, 8, 2]


def test_a_category_with_the_id_zero_is_one() -> None:
    split = split_of({number: [1] if number % 2 else [] for number in range(1, 9)})
    zero = {key: tuple(replace(each, category_id=0) for each in found) for key, found in split.annotations.items()}
    chosen = choose_subset(replace(split, annotations=zero), 4, seed=0)
    assert sum(bool(zero[image_id]) for image_id in chosen) == 2, "as many with objects as without"


def test_forty_real_images_show_nearly_every_category() -> None:
    split = real_coco("train")
    chosen = choose_subset(split, 40, seed=0)
    seen = Counter(name for image_id in chosen for name in {a.category_id for a in split.annotations[image_id]})
    first = Counter(
        name
        for image_id in list(split.images)[:40]
        for name in {a.category_id for a in split.annotations[image_id]}
    )
    assert len(seen) >= 76 > len(first), (len(seen), len(first))


@pytest.mark.parametrize("count", [0, -1, 4])
def test_counts_that_cannot_be_met(count: int) -> None:
    split = split_of({1: [1], 2: [], 3: [2]})
    user_error(lambda: choose_subset(split, count, 0), f"{count} images asked for", "has 3")


def test_a_manifest_survives_its_file_and_holds(tmp_path: Path) -> None:
    split = load_split(shapes(tmp_path), "train")
    ids = choose_subset(split, 5, seed=3)
    manifest = build_manifest(split, ids, kind="shapes", seed=3)
    manifest.write(tmp_path / "manifest.json")
    assert read_manifest(tmp_path / "manifest.json") == manifest
    assert manifest.image_ids == ids
    objects = [each for image_id in ids for each in split.annotations[image_id] if not each.iscrowd]
    assert sum(manifest.category_counts.values()) == len(objects)
    manifest.verify(split)


def test_a_manifest_notices_changed_pixels_and_missing_files(tmp_path: Path) -> None:
    split = load_split(shapes(tmp_path), "train")
    ids = list(split.images)
    manifest = build_manifest(split, ids, kind="shapes", seed=0)
    victim = split.image_folder / split.images[ids[2]].file_name
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    user_error(lambda: manifest.verify(split), victim, "1 of 7")
    victim.unlink()
    user_error(lambda: manifest.verify(split), victim)
    user_error(lambda: build_manifest(split, ids, kind="shapes", seed=0), victim, "cannot read")
    victim.write_bytes(whole)
    manifest.verify(split)


def test_a_manifest_notices_changed_annotations_but_not_their_order(tmp_path: Path) -> None:
    root = write(tmp_path / "set", document())
    manifest = build_manifest(load_split(root, "train"), [3, 7], kind="coco-folder", seed=0)
    reordered = document()
    reordered["annotations"].reverse()
    annotation_path(root, "train").write_text(json.dumps(reordered))
    manifest.verify(load_split(root, "train"))
    reordered["annotations"][0]["bbox"][0] += 1e-9
    annotation_path(root, "train").write_text(json.dumps(reordered))
    user_error(lambda: manifest.verify(load_split(root, "train")), annotation_path(root, "train"), "changed")


def test_manifests_that_are_none(tmp_path: Path) -> None:
    user_error(lambda: read_manifest(tmp_path / "absent.json"), tmp_path / "absent.json")
    split = load_split(shapes(tmp_path), "val")
    user_error(lambda: build_manifest(split, [5], kind="shapes", seed=0), "image id 5")
    for text in ("", "[]", "{}", '{"files": [{}]}', '{"files": [], "kind": "x"}'):
        user_error(lambda text=text: parse_manifest(text, "m.json"), "m.json", "not a data manifest")
