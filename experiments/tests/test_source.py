"""Which data set a run uses, and that it says so."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.data.coco import load_split
from experiments.data.download import Policy, Server
from experiments.data.shapes import MARKER
from experiments.data.source import Source, resolve_source
from experiments.tests.coco_server import LocalCoco, serve
from experiments.tests.data_sets import document, shapes, user_error, write
from experiments.tests.test_download import QUICK, closed_port

REAL = os.environ.get("COCO_ROOT")


@pytest.fixture(autouse=True)
def no_coco_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COCO_ROOT", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def coco(tmp_path: Path) -> Iterator[LocalCoco]:
    with serve(LocalCoco()) as running:
        running.add_data_set(shapes(tmp_path, train=6, val=3))
        yield running


def resolve(
    data: str | None, cache: Path, server: Server | None = None, seed: int = 0, policy: Policy = QUICK
) -> Source:
    server = server or Server(base_url=f"http://127.0.0.1:{closed_port()}")
    return resolve_source(
        data, train_count=3, val_count=2, seed=seed, cache_dir=cache, server=server, policy=policy
    )


def test_a_named_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COCO_ROOT", str(tmp_path / "absent"))
    source = resolve(str(write(tmp_path / "set", document())), tmp_path / "cache")
    assert (source.kind, source.root) == ("coco-folder", tmp_path / "set")
    assert "not marked as COCO 2017" in source.sentence and str(source.root) in source.sentence
    assert not (tmp_path / "cache").exists()


def test_coco_root_comes_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marked = document() | {"info": {"description": "COCO 2017 Dataset"}}
    monkeypatch.setenv("COCO_ROOT", str(write(tmp_path / "set", marked)))
    source = resolve(None, tmp_path / "cache")
    assert source == Source("coco-folder", tmp_path / "set", f"real COCO 2017 images from {tmp_path / 'set'}")


def test_the_real_folder_is_called_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not REAL:
        pytest.skip("COCO_ROOT names no folder of real COCO images, which this test is about")
    monkeypatch.setenv("COCO_ROOT", REAL)
    assert resolve(None, tmp_path).sentence == f"real COCO 2017 images from {REAL}"


def test_named_folders_that_are_missing_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = str(tmp_path / "absent")
    user_error(lambda: resolve(absent, tmp_path), "--data", absent)
    user_error(lambda: resolve("", tmp_path), "--data", "''")  # an unset shell variable, not the folder we are in
    monkeypatch.setenv("COCO_ROOT", absent)
    user_error(lambda: resolve(None, tmp_path), "COCO_ROOT", absent)


@pytest.mark.parametrize("without_marker", [False, True])
def test_shapes_are_called_shapes_however_they_come(tmp_path: Path, without_marker: bool) -> None:
    root = shapes(tmp_path)
    if without_marker:
        (root / MARKER).unlink()
    source = resolve(str(root), tmp_path)
    assert source.kind == "shapes" and "NOT COCO" in source.sentence


def test_with_a_network_real_images_are_downloaded_once(tmp_path: Path, coco: LocalCoco) -> None:
    source = resolve(None, tmp_path / "cache", coco.as_server(), seed=4)
    assert source.kind == "coco-download" and "real COCO 2017 images" in source.sentence
    assert len(load_split(source.root, "train").images) == 3
    assert resolve(None, tmp_path / "cache", seed=4).kind == "coco-download", "the cache does without a network"


def test_without_a_network_shapes_are_drawn_and_said_to_be(tmp_path: Path) -> None:
    source = resolve(None, tmp_path)
    assert source.kind == "shapes" and "NOT COCO" in source.sentence and "cannot be reached" in source.sentence
    assert source.root.parent == tmp_path and "\n" not in source.sentence
    assert len(load_split(source.root, "val").images) == 2
    assert resolve(None, tmp_path).root == source.root
    assert resolve(None, tmp_path, seed=1).root != source.root


def test_a_download_that_breaks_off_is_no_reason_for_shapes(tmp_path: Path, coco: LocalCoco) -> None:
    server = coco.as_server()
    for path in list(coco.files):
        if path.startswith("/val2017"):
            del coco.files[path]
    user_error(lambda: resolve(None, tmp_path / "cache", server), "HTTP 404")
    assert not list(tmp_path.glob("cache/shapes*"))
