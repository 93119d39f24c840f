"""A small COCO server on this machine, with S3's headers and with faults on demand."""

import hashlib
import io
import re
import threading
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

from experiments.data.download import COCO_SERVER, Server

Fault = Literal["cut", "corrupt", "404", "403", "503", "no ranges", "wrong range", "silence", "no etag"]


@dataclass
class LocalCoco:
    """`files` by path; `faults` are used up one a request; `requests` are (path, Range header or "").

    `raw` are answers by path, head and all, in pieces, as no honest server gives them.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    raw: dict[str, Callable[[], Iterable[bytes]]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    base_url: str = ""

    def as_server(self) -> Server:
        """The address to give to the code under test."""
        sha1 = hashlib.sha1(self.files["/" + COCO_SERVER.archive]).hexdigest()
        return Server(base_url=self.base_url, archive_sha1=sha1)

    def add_data_set(self, root: Path) -> None:
        """Serve a folder in COCO's layout as COCO does: annotations in an archive, images one by one."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted((root / "annotations").iterdir()):
                archive.write(path, f"annotations/{path.name}")
        self.files["/" + COCO_SERVER.archive] = packed.getvalue()
        for folder in ("train2017", "val2017"):
            for path in (root / folder).iterdir():
                self.files[f"/{folder}/{path.name}"] = path.read_bytes()


@contextmanager
def serve(coco: LocalCoco) -> Iterator[LocalCoco]:
    """Run the server on a free port of 127.0.0.1 for the length of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200 if self.path in coco.files else 404)
            self.end_headers()

        def do_GET(self) -> None:
            coco.requests.append((self.path, self.headers.get("Range", "")))
            if self.path in coco.raw:
                with suppress(OSError):
                    self.wfile.writelines(coco.raw[self.path]())
                return
            faults = coco.faults[self.path]
            _answer(self, coco, faults.pop(0) if faults else None)

        def log_message(self, format: str, *args: object) -> None:
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    coco.base_url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield coco
    finally:
        coco.stop.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _answer(handler: BaseHTTPRequestHandler, coco: LocalCoco, fault: Fault | None) -> None:
    if fault == "silence":
        coco.stop.wait(5)
        return
    data = coco.files.get(handler.path)
    if fault in ("404", "403", "503") or data is None:
        handler.send_error(int(fault) if fault and fault.isdigit() else 404)
        return
    asked = re.match(r"bytes=(\d+)-$", handler.headers.get("Range", ""))
    start = int(asked[1]) if asked and fault != "no ranges" else 0
    if start >= len(data):
        handler.send_error(416)
        return
    handler.send_response(206 if start else 200)
    shift = 1 if fault == "wrong range" else 0  # as many bytes as asked for, from one place earlier
    if start:
        handler.send_header("Content-Range", f"bytes {start - shift}-{len(data) - 1 - shift}/{len(data)}")
    body = data[start - shift : len(data) - shift]
    handler.send_header("Content-Length", str(len(body)))
    if fault not in ("no etag", "wrong range"):
        handler.send_header("ETag", f'"{hashlib.md5(data).hexdigest()}"')
    handler.end_headers()
    if fault == "corrupt":
        body = body[:-1] + bytes([body[-1] ^ 1])
    handler.wfile.write(body[: len(body) // 2] if fault == "cut" else body)
