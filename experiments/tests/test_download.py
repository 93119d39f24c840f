"""Downloads against a server that cuts, corrupts, refuses and keeps silent."""

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from experiments.data.coco import SplitName, annotation_path, load_split
from experiments.data.download import COCO_SERVER, NetworkUnavailable, Policy, download_subset, manifest_path
from experiments.data.fetch import fetch, require_reachable
from experiments.data.manifest import read_manifest
from experiments.data.subset import choose_subset
from experiments.tests.coco_server import Fault, LocalCoco, serve
from experiments.tests.data_sets import shapes, user_error

QUICK = Policy(connect_s=2, silence_s=0.5, attempts=3, backoff_s=0.01)
COUNTS: dict[SplitName, int] = {"train": 5, "val": 2}
DATA = bytes(range(256)) * 40


@pytest.fixture
def coco(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCoco]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve(LocalCoco(files={"/x": DATA})) as running:
        yield running


@pytest.fixture
def original(coco: LocalCoco, tmp_path: Path) -> Path:
    """The data set that the server serves."""
    root = shapes(tmp_path, train=9, val=4)
    coco.add_data_set(root)
    return root


def image_requests(coco: LocalCoco) -> list[str]:
    return [path for path, _ in coco.requests if path.endswith(".png")]


def test_a_download_is_the_chosen_part_of_the_original(coco: LocalCoco, original: Path, tmp_path: Path) -> None:
    root = tmp_path / "coco"
    download_subset(root, COUNTS, seed=1, server=coco.as_server(), policy=QUICK)
    for name, count in COUNTS.items():
        whole, part = load_split(original, name), load_split(root, name)
        chosen = choose_subset(whole, count, seed=1)
        assert set(part.images) == set(chosen) and choose_subset(part, count, seed=1) == chosen
        assert all(part.annotations[each] == whole.annotations[each] for each in chosen)
        manifest = read_manifest(manifest_path(root, name))
        manifest.verify(part)
        assert (manifest.kind, manifest.seed, manifest.image_ids) == ("coco-download", 1, chosen)
        for record in part.images.values():
            assert (part.image_folder / record.file_name).read_bytes() == coco.files[
                f"/{name}2017/{record.file_name}"
            ]
    assert len(image_requests(coco)) == 7, "only the images that are needed"
    assert not list(root.rglob("*.part"))


def test_a_whole_folder_needs_no_network(coco: LocalCoco, original: Path, tmp_path: Path) -> None:
    download_subset(tmp_path / "coco", COUNTS, seed=1, server=coco.as_server(), policy=QUICK)
    asked = len(coco.requests)
    download_subset(tmp_path / "coco", {"train": 3, "val": 2}, seed=1, server=COCO_SERVER, policy=QUICK)
    assert len(coco.requests) == asked
    assert len(load_split(tmp_path / "coco", "train").images) == 5, "a folder only grows"


def test_growing_and_mending_fetch_only_what_is_missing(coco: LocalCoco, original: Path, tmp_path: Path) -> None:
    root = tmp_path / "coco"
    download_subset(root, {"train": 4}, seed=1, server=coco.as_server(), policy=QUICK)
    download_subset(root, {"train": 6}, seed=1, server=coco.as_server(), policy=QUICK)
    assert len(image_requests(coco)) == len(set(image_requests(coco))) == 6
    split = load_split(root, "train")
    victim = split.image_folder / next(iter(split.images.values())).file_name
    victim.write_bytes(victim.read_bytes() + b"x")  # still decodes: only the hash tells
    download_subset(root, {"train": 3}, seed=1, server=coco.as_server(), policy=QUICK)
    assert image_requests(coco)[6:] == [f"/train2017/{victim.name}"]
    assert len(load_split(root, "train").images) == 6, "mending for somebody who needs 3 keeps the 6"
    assert len([path for path, _ in coco.requests if path.endswith(".zip")]) == 1


def test_a_download_that_breaks_off_loads_as_nothing_and_resumes(
    coco: LocalCoco, original: Path, tmp_path: Path
) -> None:
    root, server = tmp_path / "coco", coco.as_server()
    whole = load_split(original, "train")
    bad = f"/train2017/{whole.images[choose_subset(whole, 5, seed=1)[2]].file_name}"
    coco.faults[bad] = ["404"]
    line = user_error(
        lambda: download_subset(root, COUNTS, 1, server=server, policy=QUICK), bad, "HTTP 404", "resumes"
    )
    assert "1 or more of 5" in line
    assert not annotation_path(root, "train").exists()
    user_error(lambda: load_split(root, "train"), "cannot read")
    before = len(image_requests(coco))
    download_subset(root, COUNTS, seed=1, server=server, policy=QUICK)
    assert image_requests(coco)[before:].count(bad) == 1 and len(image_requests(coco)) == before + 1 + 2
    load_split(root, "train")


def test_many_failures_end_early(coco: LocalCoco, original: Path, tmp_path: Path) -> None:
    server = coco.as_server()
    for path in list(coco.files):
        if path.endswith(".png"):
            del coco.files[path]
    user_error(lambda: download_subset(tmp_path / "c", {"train": 9}, 0, server=server, policy=QUICK), "of 9 images")


def test_an_archive_that_is_not_the_published_one(coco: LocalCoco, original: Path, tmp_path: Path) -> None:
    server = coco.as_server()
    coco.files["/" + COCO_SERVER.archive] += b"another"
    user_error(lambda: download_subset(tmp_path / "c", COUNTS, 0, server=server, policy=QUICK), "sha1", "corrupted")
    coco.files["/" + COCO_SERVER.archive] = b"no archive at all"
    user_error(
        lambda: download_subset(tmp_path / "c", COUNTS, 0, server=coco.as_server(), policy=QUICK), "instances_train"
    )


def test_wrong_requests(coco: LocalCoco, original: Path, tmp_path: Path) -> None:
    root, server = tmp_path / "c", coco.as_server()
    user_error(
        lambda: download_subset(root, {"train": 0}, 0, server=server, policy=QUICK), "0 images of split 'train'"
    )
    user_error(lambda: download_subset(root, {"train": 10}, 0, server=server, policy=QUICK), "has 9")
    download_subset(root, {"val": 1}, 0, server=server, policy=QUICK)
    user_error(lambda: download_subset(root, {"val": 1}, 7, server=server, policy=QUICK), root, "seed 0")


@pytest.mark.parametrize(
    "faults",
    [
        [],
        ["cut"],
        ["cut", "cut"],
        ["503"],
        ["silence"],
        ["corrupt"],
        ["cut", "no ranges"],
        ["cut", "wrong range"],
        ["cut", "corrupt"],
    ],
)
def test_faults_that_pass_are_survived(coco: LocalCoco, tmp_path: Path, faults: list[Fault]) -> None:
    coco.faults["/x"] = list(faults)
    fetch(f"{coco.base_url}/x", tmp_path / "x", policy=QUICK)
    assert (tmp_path / "x").read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_cut_download_goes_on_where_it_ended(coco: LocalCoco, tmp_path: Path) -> None:
    coco.faults["/x"] = ["cut"]
    seen: list[tuple[int, int | None]] = []
    fetch(f"{coco.base_url}/x", tmp_path / "x", policy=QUICK, progress=lambda *state: seen.append(state))
    assert [asked for _, asked in coco.requests] == ["", f"bytes={len(DATA) // 2}-"]
    assert seen[-1] == (len(DATA), len(DATA)) and seen == sorted(seen)


@pytest.mark.parametrize("left", [DATA[:100], b"z" * 100, DATA, b"z" * len(DATA), DATA + b"z"])
def test_parts_of_an_earlier_run_are_used_only_if_they_fit(coco: LocalCoco, tmp_path: Path, left: bytes) -> None:
    (tmp_path / "x.part").write_bytes(left)
    fetch(f"{coco.base_url}/x", tmp_path / "x", policy=QUICK)
    assert (tmp_path / "x").read_bytes() == DATA


def test_corruption_is_found_without_an_etag_by_hash_or_check(coco: LocalCoco, tmp_path: Path) -> None:
    coco.faults["/x"] = ["no etag"] * 9
    wrong = {"sha256": "0" * 64}
    user_error(lambda: fetch(f"{coco.base_url}/x", tmp_path / "x", policy=QUICK, hashes=wrong), "sha256", "3 tries")
    assert not any(tmp_path.iterdir()), "neither the file nor a part that would be resumed"


@pytest.mark.parametrize(
    ("fault", "tries", "fragment"),
    [
        ("404", 1, "HTTP 404"),
        ("403", 1, "HTTP 403"),
        ("503", 3, "HTTP 503"),
        ("cut", 3, "the connection ended"),
        ("corrupt", 3, "md5"),
        ("silence", 3, "timed out"),
    ],
)
def test_faults_that_stay_end_in_one_line(
    coco: LocalCoco, tmp_path: Path, fault: Fault, tries: int, fragment: str
) -> None:
    coco.faults["/x"] = [fault] * 9
    user_error(lambda: fetch(f"{coco.base_url}/x", tmp_path / "x", policy=QUICK), f"{coco.base_url}/x", fragment)
    assert len(coco.requests) == tries
    assert not (tmp_path / "x").exists()


def head(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1")


def location(address: str) -> list[bytes]:
    return [head(f"Location: {address}", "Content-Length: 0", status="302 Found")]


def endless(first: bytes, piece: bytes, pause: float = 0) -> Iterator[bytes]:
    yield first
    while True:
        time.sleep(pause)
        yield piece


CHUNKED = head("Transfer-Encoding: chunked")
HOSTILE: dict[str, tuple[Callable[[], Iterable[bytes]], int, str]] = {
    "file": (lambda: location("file:///etc/passwd"), 1, "HTTP 302"),
    "ftp": (lambda: location("ftp://127.0.0.1/x"), 1, "not followed"),
    "data": (lambda: location("data:text/plain,x"), 1, "HTTP 302"),
    "bracket": (lambda: location("http://[::1/x"), 1, "check the address"),
    "port": (lambda: location("http://127.0.0.1:99999/x"), 3, "after 3 tries"),
    "no port": (lambda: location("http://127.0.0.1:x/"), 3, "port"),
    "label": (lambda: location(f"http://{'a' * 70}.b/"), 1, "check the address"),
    "empty label": (lambda: location("http://a..b/"), 1, "check the address"),
    "letters": (lambda: location("http://\xb2\xb9:\xb2/"), 3, "port"),
    "long": (lambda: location("/" + "a" * 60_000), 1, "HTTP 404"),
    "circle": (lambda: location("/x"), 1, "HTTP 302"),
    "many": (lambda: [head(*["A: b"] * 200)], 3, "headers"),
    "endless line": (lambda: endless(b"HTTP/1.1 200 ", b"a" * 9999), 3, "line"),
    "endless body": (lambda: endless(head(), b"a" * 9999), 1, "more than 100,000 bytes"),
    "endless chunk": (lambda: endless(CHUNKED + b"f" * 15 + b"\r\n", b"a" * 9999), 1, "more than 100,000 bytes"),
    "negative chunk": (lambda: endless(CHUNKED + b"-1\r\n", b"a" * 9999), 1, "more than 100,000 bytes"),
    "no chunk": (lambda: [CHUNKED + b"\xb2\r\nxx"], 3, "after 3 tries"),
    "too long": (lambda: [head("Content-Length: 100001"), DATA], 1, "more than 100,000 bytes"),
    "longer than said": (lambda: [head("Content-Length: " + "9" * 15)], 1, "more than 100,000 bytes"),
    "no http": (lambda: [b"\xff\xfe" * 99], 3, "after 3 tries"),
    "status": (lambda: [b"HTTP/1.1 " + b"9" * 5000 + b" OK\r\n\r\n"], 3, "after 3 tries"),
    "slow": (lambda: endless(head("Content-Length: 90000"), b"a" * 10, 0.02), 3, "bytes in 0."),
    "slow head": (lambda: endless(b"HTTP/1.1 200 OK\r\n", b"A", 0.05), 3, "no answer within"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_servers_end_in_one_line(coco: LocalCoco, tmp_path: Path, name: str) -> None:
    answer, tries, fragment = HOSTILE[name]
    coco.raw["/x"] = answer
    policy = Policy(silence_s=0.2, attempts=3, backoff_s=0.01, most_bytes=100_000)
    line = user_error(lambda: fetch(f"{coco.base_url}/x", tmp_path / "x", policy=policy), coco.base_url, fragment)
    assert len(line) < 70_000
    asked = len([path for path, _ in coco.requests if path == "/x"])
    assert asked == tries or name == "circle"
    left = [path.name for path in tmp_path.iterdir()]
    assert left == (["x.part"] if name == "slow" else left[:0]) or name == "no chunk"


@pytest.mark.parametrize("length", ["\xb2", "9" * 5000, "-1", "", "1, 2", "+5"])
def test_lengths_that_are_none_are_no_lengths(coco: LocalCoco, tmp_path: Path, length: str) -> None:
    coco.raw["/x"] = lambda: [head(f"Content-Length: {length}"), DATA]
    line = user_error(lambda: fetch(f"{coco.base_url}/x", tmp_path / "x", policy=QUICK), "a length of", "3 tries")
    assert len(line) < 300
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("given", ["5" * 5000, "\xb2", "100", "-", "100-10239/" + "9" * 5000, "100-10239/\xb2"])
def test_ranges_that_are_none_lead_to_the_whole_file(coco: LocalCoco, tmp_path: Path, given: str) -> None:
    (tmp_path / "x.part").write_bytes(DATA[:100])
    answers = [[head(f"Content-Range: bytes {given}", status="206 Partial Content"), DATA[100:]]]
    coco.raw["/x"] = lambda: answers.pop() if answers else [head(f"Content-Length: {len(DATA)}"), DATA]
    fetch(f"{coco.base_url}/x", tmp_path / "x", policy=QUICK)
    assert (tmp_path / "x").read_bytes() == DATA


def test_a_slow_transfer_is_resumed(coco: LocalCoco, tmp_path: Path) -> None:
    coco.raw["/x"] = lambda: endless(head(f"Content-Length: {len(DATA)}"), DATA[:10], 0.05)
    policy = Policy(silence_s=0.1, attempts=1)
    user_error(lambda: fetch(f"{coco.base_url}/x", tmp_path / "x", policy=policy), "bytes in 0.", "resume")
    have = (tmp_path / "x.part").stat().st_size
    assert have
    del coco.raw["/x"]
    (tmp_path / "x.part").write_bytes(DATA[:have])
    fetch(f"{coco.base_url}/x", tmp_path / "x", policy=QUICK)
    assert coco.requests[-1] == ("/x", f"bytes={have}-") and (tmp_path / "x").read_bytes() == DATA


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_no_network_is_told_from_other_failures(coco: LocalCoco, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{closed_port()}/x"
    with pytest.raises(NetworkUnavailable, match="refused"):
        require_reachable(address, QUICK)
    user_error(lambda: fetch(address, tmp_path / "x", policy=QUICK), "refused", "3 tries")
    require_reachable(f"{coco.base_url}/absent", QUICK)  # an answer, be it 404, is a connection


def test_a_silent_name_server_does_not_hold_up_the_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr("experiments.data.fetch._probe", lambda *_: released.wait(5))
    started = time.monotonic()
    with pytest.raises(NetworkUnavailable, match=r"no answer within 0\.2 s"):
        require_reachable("http://coco.invalid/", Policy(connect_s=0.2))
    assert time.monotonic() - started < 3
    released.set()


def test_a_silent_network_is_given_up_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(NetworkUnavailable, match=r"timed out|no answer"):
            require_reachable(f"http://127.0.0.1:{silent.getsockname()[1]}/", Policy(connect_s=0.2))
