"""Published checkpoints: where they are, and a server that cuts, corrupts and refuses."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.data.fetch import Policy
from experiments.tests.coco_server import LocalCoco, serve
from experiments.tests.runs import said_error
from experiments.weight_files import official
from experiments.weight_files.official import Published, official_checkpoint, published
from experiments.weight_files.writers import write_weights
from experiments.weights import main
from frameworks.config import PRESETS, preset
from frameworks.errors import UserError
from frameworks.state.initialisation import initial_weights

QUICK = Policy(connect_s=2, silence_s=0.5, attempts=3, backoff_s=0.01)
UNPUBLISHED = {"rtdetr_dla34", "rtdetr_regnet", "rtdetrv2_r18vd_voc", "tiny"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalCoco]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    spec = preset("tiny")
    write_weights(tmp_path / "tiny.pth", initial_weights(spec.model, 1), spec, "pth")
    with serve(LocalCoco(files={"/tiny.pth": (tmp_path / "tiny.pth").read_bytes()})) as running:
        yield running


def entry(server: LocalCoco, sha256: str = "", name: str = "tiny.pth") -> Published:
    return Published(f"{server.base_url}/{name}", sha256)


def test_every_preset_has_a_checkpoint_or_an_error() -> None:
    names = set()
    for name in PRESETS.keys() - UNPUBLISHED:
        found = published(name)
        assert found.url.startswith("https://github.com/lyuwenyu/storage/releases/download/v0.")
        assert name.removesuffix("_dsp")[:-1] in found.file_name or "_sp" in name
        assert len(found.sha256) in (0, 64)
        names.add(found.file_name)
    assert len(names) == len(PRESETS) - len(UNPUBLISHED), "no two presets share a file"
    for name in UNPUBLISHED:
        with pytest.raises(UserError, match=f"{name} has no published"):
            published(name)


def test_downloaded_once_and_held_to_its_first_hash(server: LocalCoco, tmp_path: Path) -> None:
    path = official_checkpoint("tiny", entry=entry(server), cache=tmp_path / "cache", policy=QUICK)
    data = server.files["/tiny.pth"]
    assert path.read_bytes() == data
    assert path.with_name("tiny.pth.sha256").read_text().strip() == hashlib.sha256(data).hexdigest()
    assert official_checkpoint("tiny", entry=entry(server), cache=tmp_path / "cache", policy=QUICK) == path
    assert len(server.requests) == 1
    path.write_bytes(data + b"x")
    with pytest.raises(UserError, match=r"sha256 is .* delete it"):
        official_checkpoint("tiny", entry=entry(server), cache=tmp_path / "cache", policy=QUICK)
    path.unlink()
    server.files["/tiny.pth"] = data + b"y"  # the release was replaced since
    with pytest.raises(UserError, match=r"sha256 is .* expected"):
        official_checkpoint("tiny", entry=entry(server), cache=tmp_path / "cache", policy=QUICK)
    assert not path.exists()


def test_a_cut_connection_resumes(server: LocalCoco, tmp_path: Path) -> None:
    server.faults["/tiny.pth"].append("cut")
    path = official_checkpoint("tiny", entry=entry(server), cache=tmp_path / "cache", policy=QUICK)
    assert path.read_bytes() == server.files["/tiny.pth"]
    half = len(server.files["/tiny.pth"]) // 2
    assert [asked for _, asked in server.requests] == ["", f"bytes={half}-"]


def test_a_wrong_hash_is_refused(server: LocalCoco, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sha256 is .* expected 0000"):
        official_checkpoint("tiny", entry=entry(server, "0" * 64), cache=tmp_path / "cache", policy=QUICK)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_page_is_no_checkpoint(server: LocalCoco, tmp_path: Path) -> None:
    server.files["/tiny.pth"] = b"<html>please sign in</html>"
    with pytest.raises(UserError, match="starts with"):
        official_checkpoint("tiny", entry=entry(server), cache=tmp_path / "cache", policy=QUICK)


def test_404(server: LocalCoco, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="HTTP 404"):
        official_checkpoint("tiny", entry=entry(server, name="gone.pth"), cache=tmp_path / "cache", policy=QUICK)


def test_the_command(
    server: LocalCoco, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(official, "published", lambda name: entry(server))
    assert main(["convert", "official", str(tmp_path / "a.safetensors"), "--preset", "tiny"]) == 0
    assert (tmp_path / ".cache" / "twin-detr" / "weights" / "tiny.pth").is_file()
    assert main(["verify", "official", "--preset", "tiny", "--against", str(tmp_path / "a.safetensors")]) == 0
    monkeypatch.setattr(official, "published", lambda name: entry(server, name="gone.pth"))
    capsys.readouterr()
    assert main(["inspect", "official", "--preset", "tiny"]) == 2
    said_error(capsys, "gone.pth", "HTTP 404")
