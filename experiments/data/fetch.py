"""Fetch one file over HTTP: resumable, with bounded time and tries, renamed into place only when verified."""

import http.client
import re
import threading
import time
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from frameworks.errors import UserError, said
from frameworks.files import file_hash

_AGENT = {"User-Agent": "twin-detr"}
_BLOCK = 1 << 16
_SLOWEST = 1024  # bytes a second, measured over each `Policy.silence_s`
_LENGTH = re.compile(r"[0-9]{1,15}", re.ASCII)  # longer ones, and digits of other scripts, are no lengths
_RANGE = re.compile(r"bytes ([0-9]{1,15})-[0-9]{1,15}/([0-9]{1,15})", re.ASCII)
T = TypeVar("T")
# What S3 gives a file uploaded in one piece; one uploaded in parts has "-<parts>" behind it and is no MD5.
_MD5_ETAG = re.compile(r'^"([0-9a-f]{32})"$')


class NetworkUnavailable(UserError):
    """No connection could be made at all; the caller may fall back to generated images."""


@dataclass(frozen=True)
class Policy:
    """Limits of a fetch: seconds to the first contact, seconds of silence, tries, seconds before the second try
    (doubled before each further one), and bytes of one file."""

    connect_s: float = 5.0
    silence_s: float = 20.0
    attempts: int = 4
    backoff_s: float = 0.5
    most_bytes: int = 1 << 33


class _TryAgainError(Exception):
    """A try failed in a way that another may not."""


class _Transfer(NamedTuple):
    total: int | None  # bytes of the whole file, if the server states them
    etag: str


def require_reachable(url: str, policy: Policy) -> None:
    """Raises NetworkUnavailable unless the server of `url` responds within `policy.connect_s` seconds."""
    try:
        reason = _within(policy.connect_s, lambda: _probe(url, policy.connect_s))
    except TimeoutError as error:
        reason = str(error)
    if reason:
        raise NetworkUnavailable(
            f"{urlsplit(url).netloc}: cannot be reached ({reason}); connect to the internet or name a COCO folder"
        )


def _probe(url: str, seconds: float) -> str | None:
    """None, or why the server cannot be reached."""
    try:
        with _open(Request(url, method="HEAD", headers=_AGENT), seconds):
            return None
    except HTTPError as error:
        with error:  # a proxy that blocks, or a server that is down; any other status shows a working network
            return f"HTTP {error.code}" if error.code in (403, 407, 429) or error.code >= 500 else None
    except URLError as error:
        return str(error.reason)
    except (OSError, http.client.HTTPException, ValueError, OverflowError) as error:
        return str(error) or type(error).__name__


class _Redirects(HTTPRedirectHandler):
    """Follows redirects over HTTP, and from https to https alone."""

    def http_error_302(self, req: Request, fp: Any, code: int, msg: str, headers: Any) -> Any:
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except ValueError:  # an address that is none: nobody else closes this answer
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urlsplit(newurl).scheme not in (("https",) if req.type == "https" else ("http", "https")):
            raise HTTPError(req.full_url, code, f"redirects to {newurl:.100}, which is not followed", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(request: Request, seconds: float) -> Any:
    """The answer to a request, whose head may take `seconds` between two bytes. Raises as urllib's openers do."""
    return build_opener(_Redirects).open(request, timeout=seconds)


def _within(seconds: float, ask: Callable[[], T]) -> T:
    """The result of `ask`. Raises TimeoutError if it takes longer, or what it raises.

    On a thread: a silent name server blocks beyond any timeout, and a head that drips resets the timeout for ever.
    """
    outcome: list[tuple[T | None, BaseException | None]] = []

    def run() -> None:
        try:
            outcome.append((ask(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise TimeoutError(f"no answer within {seconds:g} s")
    result, error = outcome[0]
    if error is not None:
        raise error
    return typing.cast(T, result)


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
    again. `progress` receives (bytes so far, bytes in all or None). The .part stays where the connection ends or is
    too slow; it is removed where it cannot be of the file: after a failed check, another range, too many bytes.

    Raises UserError when the tries are used up, or at once where another try is pointless (HTTP 404 and the like).
    """
    part = destination.with_name(destination.name + ".part")
    reason = ""
    for attempt in range(policy.attempts):
        if attempt:
            time.sleep(policy.backoff_s * 2 ** (attempt - 1))
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            transfer = _transfer(url, part, policy, progress)
            _verify(part, transfer, hashes or {}, check)
            part.replace(destination)
            return
        except _TryAgainError as error:
            reason = str(error)
        except HTTPError as error:
            with error:
                raise UserError(f"{url}: HTTP {error.code} {said(error.reason)}; check the address") from None
        except (OSError, http.client.HTTPException) as error:  # URLError and TimeoutError are OSErrors
            reason = said(getattr(error, "reason", error))
        except (ValueError, OverflowError) as error:  # from addresses that are none, here or in a redirect
            raise UserError(f"{url}: {said(error)}; check the address") from None
    raise UserError(f"{url}: {reason}, after {policy.attempts} tries; check the connection and run again to resume")


def _transfer(
    url: str, part: Path, policy: Policy, progress: Callable[[int, int | None], None] | None
) -> _Transfer:
    """Add what is missing to `part`.

    Raises _TryAgainError if the connection ends before the file does, or is too slow, and UserError for a file that
    is too large.
    """
    have = part.stat().st_size if part.exists() else 0
    request = Request(url, headers=_AGENT | ({"Range": f"bytes={have}-"} if have else {}))
    try:
        response = _within(2 * policy.silence_s, lambda: _open(request, policy.silence_s))
    except HTTPError as error:
        if error.code == 416:  # the part is as long as the server's file, or longer: complete, or of another file
            part.unlink(missing_ok=True)
        elif error.code not in (408, 425, 429) and error.code < 500:
            raise
        with error:
            raise _TryAgainError(f"HTTP {error.code} {error.reason}") from None
    with response:
        start, total = _extent(response, part, have)
        limit = policy.most_bytes if total is None else total
        done = start
        if limit <= policy.most_bytes:
            done = _receive(response, part, start, limit, policy, lambda done: progress and progress(done, total))
    if max(done, limit) > policy.most_bytes or done > limit:
        part.unlink(missing_ok=True)
        raise UserError(f"{url}: more than {min(limit, policy.most_bytes):,} bytes; check the address")
    if total is not None and done < total:  # read1(n) reports no error when the connection ends
        raise _TryAgainError(f"the connection ended after {done} of {total} bytes")
    return _Transfer(total, response.headers.get("ETag", ""))


def _receive(
    response: Any, part: Path, start: int, limit: int, policy: Policy, progress: Callable[[int], object]
) -> int:
    """Write the body to `part` from byte `start` on; returns its length, more than `limit` if that was exceeded."""
    with part.open("r+b" if start else "wb") as stream:
        done = stream.seek(start)
        pace = _Pace(done, policy.silence_s)
        while block := response.read1(_BLOCK):
            done += len(block)
            if done > limit:
                break
            stream.write(block)
            pace.require(done)
            progress(done)
    return done


class _Pace:
    """Measures a transfer that has `done` bytes, over spans of `seconds`."""

    def __init__(self, done: int, seconds: float) -> None:
        self.done, self.seconds, self.since = done, seconds, time.monotonic()

    def require(self, done: int) -> None:
        """Raise _TryAgainError if fewer than `_SLOWEST` bytes a second came since the last span."""
        now = time.monotonic()
        if now - self.since > self.seconds:
            if done - self.done < _SLOWEST * self.seconds:
                raise _TryAgainError(f"the server sent {done - self.done} bytes in {now - self.since:.3g} s")
            self.done, self.since = done, now


def _extent(response: http.client.HTTPResponse, part: Path, have: int) -> tuple[int, int | None]:
    """Where the body starts in the file, and the file's length. A server without ranges sends it from the start."""
    if response.status == 206:
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found and int(found[1]) == have:
            return have, int(found[2])
        part.unlink(missing_ok=True)  # request the whole file from such a server
        raise _TryAgainError(f"the server answered with another range than bytes {have} and on")
    length = response.headers.get("Content-Length")
    if length is not None and not _LENGTH.fullmatch(length):
        raise _TryAgainError(f"the server says a length of {length:.40}, which is none")
    return 0, None if length is None else int(length)


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
