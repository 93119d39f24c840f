"""Fetch one file over HTTP: resumable, with bounded time and tries, renamed into place only when verified."""

import http.client
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from experiments.data.files import file_hash
from frameworks.errors import UserError

_AGENT = {"User-Agent": "twin-detr"}
_BLOCK = 1 << 16
# What S3 gives a file uploaded in one piece; one uploaded in parts has "-<parts>" behind it and is no MD5.
_MD5_ETAG = re.compile(r'^"([0-9a-f]{32})"$')


class NetworkUnavailable(UserError):
    """No connection could be made at all; the caller may fall back to generated images."""


@dataclass(frozen=True)
class Policy:
    """Limits of a fetch: seconds to the first contact, seconds of silence, tries, and seconds before the second
    try (doubled before each further one)."""

    connect_s: float = 5.0
    silence_s: float = 20.0
    attempts: int = 4
    backoff_s: float = 0.5


class _TryAgainError(Exception):
    """A try failed in a way that another may not."""


class _Transfer(NamedTuple):
    total: int | None  # bytes of the whole file, if the server states them
    etag: str


def require_reachable(url: str, policy: Policy) -> None:
    """Raises NetworkUnavailable unless the server of `url` responds within `policy.connect_s` seconds."""
    outcome: list[str | None] = []
    # on a thread: a silent name server blocks urlopen beyond its timeout
    thread = threading.Thread(target=lambda: outcome.append(_probe(url, policy.connect_s)), daemon=True)
    thread.start()
    thread.join(policy.connect_s)
    reason = outcome[0] if outcome else f"no answer within {policy.connect_s:g} s"
    if reason:
        raise NetworkUnavailable(
            f"{urlsplit(url).netloc}: cannot be reached ({reason}); connect to the internet or name a COCO folder"
        )


def _probe(url: str, seconds: float) -> str | None:
    """None, or why the server cannot be reached."""
    try:
        with urlopen(Request(url, method="HEAD", headers=_AGENT), timeout=seconds):
            return None
    except HTTPError as error:
        with error:  # a proxy that blocks, or a server that is down; any other status shows a working network
            return f"HTTP {error.code}" if error.code in (403, 407, 429) or error.code >= 500 else None
    except URLError as error:
        return str(error.reason)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__


def fetch(
    url: str,
    destination: Path,
    *,
    policy: Policy,
    hashes: Mapping[str, str] | None = None,
    check: Callable[[Path], object] | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> None:
    """Download `url` to `destination`, continuing the file `destination`.part of an earlier call.

    Checked against the length and the MD5 (S3's ETag) that the server states, against `hashes` ({algorithm:
    hexadecimal digest}) and by `check`, which raises UserError for a wrong file; a file that fails is fetched
    again. `progress` receives (bytes so far, bytes in all or None).

    Raises UserError when the tries are used up, or at once where another try is pointless (HTTP 404 and the like).
    """
    part = destination.with_name(destination.name + ".part")
    reason = ""
    for attempt in range(policy.attempts):
        if attempt:
            time.sleep(policy.backoff_s * 2 ** (attempt - 1))
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            transfer = _transfer(url, part, policy.silence_s, progress)
            _verify(part, transfer, hashes or {}, check)
            part.replace(destination)
            return
        except _TryAgainError as error:
            reason = str(error)
        except HTTPError as error:
            with error:
                raise UserError(f"{url}: HTTP {error.code} {error.reason}; check the address") from None
        except (OSError, http.client.HTTPException) as error:  # URLError and TimeoutError are OSErrors
            reason = str(getattr(error, "reason", error)) or type(error).__name__
    raise UserError(f"{url}: {reason}, after {policy.attempts} tries; check the connection and run again to resume")


def _transfer(
    url: str, part: Path, seconds: float, progress: Callable[[int, int | None], None] | None
) -> _Transfer:
    """Add what is missing to `part`; raises _TryAgainError if the connection ends before the file does."""
    have = part.stat().st_size if part.exists() else 0
    try:
        response = urlopen(
            Request(url, headers=_AGENT | ({"Range": f"bytes={have}-"} if have else {})), timeout=seconds
        )
    except HTTPError as error:
        if error.code == 416:  # the part is as long as the server's file, or longer: complete, or of another file
            part.unlink()
        elif error.code not in (408, 425, 429) and error.code < 500:
            raise
        with error:
            raise _TryAgainError(f"HTTP {error.code} {error.reason}") from None
    with response:
        start, total = _extent(response, part, have)
        with part.open("r+b" if start else "wb") as stream:
            done = stream.seek(start)
            while block := response.read(_BLOCK):
                stream.write(block)
                done += len(block)
                if progress:
                    progress(done, total)
    if total is not None and done < total:  # read(n) reports no error when the connection ends
        raise _TryAgainError(f"the connection ended after {done} of {total} bytes")
    return _Transfer(total, response.headers.get("ETag", ""))


def _extent(response: http.client.HTTPResponse, part: Path, have: int) -> tuple[int, int | None]:
    """Where the body starts in the file, and the file's length. A server without ranges sends it from the start."""
    if response.status == 206:
        found = re.match(r"bytes (\d+)-\d+/(\d+)$", response.headers.get("Content-Range", ""))
        if found and int(found[1]) == have:
            return have, int(found[2])
        part.unlink()  # request the whole file from such a server
        raise _TryAgainError(f"the server answered with another range than bytes {have} and on")
    length = response.headers.get("Content-Length")
    return 0, int(length) if length and length.isdigit() else None


def _verify(
    part: Path, transfer: _Transfer, hashes: Mapping[str, str], check: Callable[[Path], object] | None
) -> None:
    """Raises _TryAgainError, after removing `part`, unless the file is the one that was asked for."""
    md5 = _MD5_ETAG.match(transfer.etag)
    expected = ({"md5": md5[1]} if md5 else {}) | dict(hashes)
    try:
        size = part.stat().st_size
        if transfer.total not in (None, size):
            raise UserError(f"{size} bytes arrived, the server said {transfer.total}")
        for algorithm, digest in expected.items():
            found = file_hash(part, algorithm)
            if found != digest:
                raise UserError(f"corrupted: {algorithm} is {found}, expected {digest}")
        if check:
            check(part)
    except UserError as error:
        part.unlink()
        raise _TryAgainError(str(error)) from None
