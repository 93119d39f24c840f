"""Published checkpoints: where they are, and a server that cuts, corrupts and refuses."""

import hashlib
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.data.fetch import Policy
from experiments.runs.deviations import TRAIN_IMAGES, deviations
from experiments.tests.coco_server import LocalCoco, serve
from experiments.tests.runs import said_error
from experiments.weight_files import official_checkpoints
from experiments.weight_files.initial import starting_state
from experiments.weight_files.official_checkpoints import (
    IMAGENET,
    OBJECTS365,
    OFFICIAL,
    Published,
    fetch_published,
    published,
    published_files,
)
from experiments.weight_files.readers import read_weights
from experiments.weight_files.writers import write_weights
from experiments.weights import main
from frameworks.config import PRESETS, preset
from frameworks.errors import UserError
from frameworks.state.initialisation import initial_weights
from frameworks.workers.client import REPOSITORY

Capture = pytest.CaptureFixture[str]
TINY = preset("tiny")
QUICK = Policy(connect_s=2, silence_s=0.5, attempts=3, backoff_s=0.01)
UNPUBLISHED = {"rtdetrv2_r18vd_voc", "tiny"}


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
    files = published_files()
    assert files.keys() == PRESETS.keys() - UNPUBLISHED
    for name, found in files.items():
        assert name.removesuffix("_dsp")[:-1] in found.file_name or "_sp" in name
    assert len({found.file_name for found in files.values()}) == len(files), "no two presets share a file"
    with pytest.raises(UserError, match="tiny has no published"):
        published(PRESETS["tiny"])


def test_a_model_of_ones_own_has_the_file_of_its_architecture() -> None:
    files = published_files()
    for name in ("rtdetr_r18vd", "rtdetrv2_r18vd", "rtdetrv2_r18vd_dsp", "rtdetrv2_hgnetv2_l"):
        model = PRESETS[name].model
        own = replace(PRESETS[name], name="mine", model=replace(model, num_classes=12))
        assert published(own) == files[name], "whatever the number of classes"
    assert published(PRESETS["rtdetrv2_r18vd_voc"]) == files["rtdetrv2_r18vd"]
    shallow = replace(PRESETS["rtdetr_r50vd"].model.decoder, num_layers=2)
    own = replace(PRESETS["rtdetr_r50vd"], model=replace(PRESETS["rtdetr_r50vd"].model, decoder=shallow))
    assert published(own) == files["rtdetr_r50vd"], "the name decides where no architecture is the same"
    with pytest.raises(UserError, match="mine has no published official weights"):
        published(replace(own, name="mine"))
    assert published(replace(own, name="mine"), IMAGENET) == published_files(IMAGENET)["rtdetr_r50vd"]


def test_the_other_tables_name_presets() -> None:
    assert {name.partition("_")[2] for name in published_files(OBJECTS365)} == {"r18vd", "r50vd", "r101vd"}
    backbones = published_files(IMAGENET)
    assert backbones.keys() == PRESETS.keys() - {"tiny"}
    families = {}
    for name, found in backbones.items():
        families.setdefault(found.url, set()).add(PRESETS[name].model.backbone.out_channels)
    assert len(families) == 9 and all(len(widths) == 1 for widths in families.values()), "one file, one backbone"


def test_every_address_is_one_of_the_known_servers() -> None:
    servers = (
        "https://github.com/lyuwenyu/storage/releases/download/v0.",
        "https://drive.usercontent.google.com/download?id=",
        "https://huggingface.co/facebook/regnet-y-040/resolve/main/",
        "http://dl.yf.io/dla/models/imagenet/",
    )
    names: dict[str, str] = {}
    for table in (OFFICIAL, OBJECTS365, IMAGENET):
        for found in published_files(table).values():
            assert found.url.startswith(servers) and len(found.sha256) in (0, 64)
            assert re.fullmatch(r"[\w.-]+\.pth", found.file_name)
            assert names.setdefault(found.file_name, found.url) == found.url, "the cache would mix up two files"


def documented_rows() -> list[str]:
    """The table of docs/weights.md: a row for each preset, with links to its files."""
    tables = [published_files(table) for table in (OFFICIAL, OBJECTS365, IMAGENET)]
    rows = ["| preset | `official` | `official-objects365` | `inject-backbone official` |", "|---|---|---|---|"]
    for name in dict.fromkeys(itertools.chain(*tables)):
        found = [files.get(name) for files in tables]
        cells = [f"[{file.file_name}]({file.url})" if file else "–" for file in found]
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    return rows


def test_the_documentation_lists_every_published_file() -> None:
    text = (REPOSITORY / "docs" / "weights.md").read_text(encoding="utf-8")
    expected = "\n".join(documented_rows())
    assert expected in text, f"put this table into docs/weights.md:\n{expected}"


def test_downloaded_once_and_held_to_its_first_hash(server: LocalCoco, tmp_path: Path) -> None:
    path = fetch_published(entry(server), cache=tmp_path / "cache", policy=QUICK)
    data = server.files["/tiny.pth"]
    assert path.read_bytes() == data
    assert path.with_name("tiny.pth.sha256").read_text().strip() == hashlib.sha256(data).hexdigest()
    assert fetch_published(entry(server), cache=tmp_path / "cache", policy=QUICK) == path
    assert len(server.requests) == 1
    path.write_bytes(data + b"x")
    with pytest.raises(UserError, match=r"sha256 is .* delete it"):
        fetch_published(entry(server), cache=tmp_path / "cache", policy=QUICK)
    path.unlink()
    server.files["/tiny.pth"] = data + b"y"  # the release was replaced since
    with pytest.raises(UserError, match=r"sha256 is .* expected"):
        fetch_published(entry(server), cache=tmp_path / "cache", policy=QUICK)
    assert not path.exists()


def test_a_cut_connection_resumes(server: LocalCoco, tmp_path: Path) -> None:
    server.faults["/tiny.pth"].append("cut")
    path = fetch_published(entry(server), cache=tmp_path / "cache", policy=QUICK)
    assert path.read_bytes() == server.files["/tiny.pth"]
    half = len(server.files["/tiny.pth"]) // 2
    assert [asked for _, asked in server.requests] == ["", f"bytes={half}-"]


def test_a_wrong_hash_is_refused(server: LocalCoco, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sha256 is .* expected 0000"):
        fetch_published(entry(server, "0" * 64), cache=tmp_path / "cache", policy=QUICK)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_hash_in_the_name_is_checked(server: LocalCoco, tmp_path: Path) -> None:
    data = server.files["/tiny.pth"]
    good, bad = f"a-{hashlib.sha256(data).hexdigest()[:8]}.pth", "a-01234567.pth"
    server.files |= {f"/{good}": data, f"/{bad}": data}
    assert published_files(IMAGENET)["rtdetr_dla34"].hash_prefix == "ba72cf86"
    assert fetch_published(entry(server, name=good), cache=tmp_path, policy=QUICK).is_file()
    with pytest.raises(UserError, match=r"its name says 01234567"):
        fetch_published(entry(server, name=bad), cache=tmp_path, policy=QUICK)


def test_a_page_is_no_checkpoint(server: LocalCoco, tmp_path: Path) -> None:
    server.files["/tiny.pth"] = b"<html>please sign in</html>"
    with pytest.raises(UserError, match="starts with"):
        fetch_published(entry(server), cache=tmp_path / "cache", policy=QUICK)


def test_404(server: LocalCoco, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="HTTP 404"):
        fetch_published(entry(server, name="gone.pth"), cache=tmp_path / "cache", policy=QUICK)


@pytest.fixture
def catalogue(server: LocalCoco, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Publishes files for the preset tiny, ``catalogue(table="name.pth")``, and nothing else."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(official_checkpoints, "PATH", tmp_path / "official.toml")

    def publish(**names: str) -> None:
        tables = [f'[{table}]\ntiny = {{url = "{server.base_url}/{name}"}}\n' for table, name in names.items()]
        (tmp_path / "official.toml").write_text("".join(tables), encoding="utf-8")

    return publish


@pytest.mark.parametrize("word", [OFFICIAL, OBJECTS365])
def test_the_command(
    word: str,
    server: LocalCoco,
    catalogue: Callable[..., None],
    tmp_path: Path,
    capsys: Capture,
) -> None:
    catalogue(**{word: "tiny.pth"})
    assert main(["convert", word, str(tmp_path / "a.safetensors"), "--preset", "tiny"]) == 0
    assert (tmp_path / ".cache" / "twin-detr" / "weights" / "tiny.pth").is_file()
    assert main(["verify", word, "--preset", "tiny", "--against", str(tmp_path / "a.safetensors")]) == 0
    catalogue(**{word: "gone.pth"})
    capsys.readouterr()
    assert main(["inspect", word, "--preset", "tiny"]) == 2
    said_error(capsys, "gone.pth", "HTTP 404")
    assert main(["inspect", word]) == 2
    said_error(capsys, f"{word} needs --preset")


def test_the_official_backbone(server: LocalCoco, catalogue: Callable[..., None], tmp_path: Path) -> None:
    """``official`` means the ImageNet backbone here, never the whole detector."""
    spec, out = preset("tiny"), tmp_path / "out.safetensors"
    weights = initial_weights(spec.model, 2)
    backbone = {name: array for name, array in weights.items() if name.startswith("backbone.")}
    bare = {name.removeprefix("backbone."): array for name, array in backbone.items()}
    write_weights(tmp_path / "bare.safetensors", bare, spec, "safetensors")
    server.files["/bare.pth"] = (tmp_path / "bare.safetensors").read_bytes()
    catalogue(**{OFFICIAL: "tiny.pth", IMAGENET: "bare.pth"})
    assert main(["inject-backbone", "official", "--preset", "tiny", "--tuning", "--out", str(out)]) == 0
    found = read_weights(out).arrays
    assert found.keys() == backbone.keys()
    assert all(np.array_equal(found[name], backbone[name]) for name in found)
    assert server.requests == [("/bare.pth", "")]


def test_a_preset_without_an_official_backbone(tmp_path: Path, capsys: Capture) -> None:
    out = str(tmp_path / "out.pth")
    assert main(["inject-backbone", "official", "--preset", "tiny", "--tuning", "--out", out]) == 2
    said_error(capsys, "tiny has no published imagenet-backbone", "rtdetr_dla34")


def test_a_spec_that_is_tuned_from_an_address(server: LocalCoco, catalogue: Callable[..., None]) -> None:
    """As the official code does: what fits is taken. A file on the command line goes first."""
    url = f"{server.base_url}/tiny.pth"
    tuned = replace(TINY, recipe=replace(TINY.recipe, tuning=url), model=replace(TINY.model, num_classes=12))
    weights, record = starting_state(tuned, seed=0, weights=None, partial=False, backbone=None)
    assert record and record["source"] == url and record["matched"] == 364 and len(record["unmatched"]) == 7
    name = "encoder.fpn_blocks.0.conv1.conv.weight"
    assert np.array_equal(weights[name], initial_weights(TINY.model, 1)[name])
    assert not any("Initial weights" in line for line in deviations(tuned, tuned, TRAIN_IMAGES, record))
    with pytest.raises(UserError, match="no such file"):
        starting_state(tuned, seed=0, weights="nowhere.pth", partial=True, backbone=None)
    assert starting_state(TINY, seed=0, weights=None, partial=False, backbone=None)[1] is None
    assert Published.at("http://a/b/model.bin").file_name != Published.at("http://c/d/model.bin").file_name
