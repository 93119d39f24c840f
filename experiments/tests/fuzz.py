"""Change valid files of every format at random and read them: each is read or refused in one line.

    python -m experiments.tests.fuzz --seconds 60 --seed 0 --keep findings

What is neither is a finding: another exception than UserError, a line with control characters, more than 20 s. Its
file is kept, to become a test. Exit status 1 if there is one.
"""

import io
import json
import pickle
import random
import resource
import sys
import tempfile
import time
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments.command import COMPLETE, FAILED, Parser, run_command
from experiments.data.coco import parse_split, read_document
from experiments.weight_files.readers import read_weights
from frameworks.config import dump_yaml, load_spec, preset
from frameworks.errors import UserError
from frameworks.images import load_image

MOST_SECONDS = 20
Seeds = dict[str, list[bytes]]
_ODD = (b"R", b"b", b"(", b"2", b"Q", b".", b"-1", b"9" * 12, b"1e999", b"null", b"{}", b"[]", b"<<", b"*a", b"\0")


def changed(data: bytes, random_: random.Random) -> bytes:
    """Valid content with a few bytes changed, removed, repeated, or made the ends of what a number can be."""
    copy = bytearray(data)
    for _ in range(random_.choice((1, 1, 2, 5))):
        at, kind = random_.randrange(len(copy) + 1), random_.randrange(6)
        if kind == 0:
            copy[at : at + 1] = bytes([random_.randrange(256)])
        elif kind == 1:
            copy[at : at + 8] = random_.choice((bytes(8), b"\xff" * 8, b"\xff" * 7 + b"\x7f"))
        elif kind == 2:
            del copy[at : at + random_.randrange(1, 9)]
        elif kind == 3:
            copy[at:at] = copy[: random_.randrange(1, 30)]
        elif kind == 4:
            copy[at:at] = random_.choice(_ODD)
        else:
            copy[at:at] = bytes([random_.randrange(256)]) * random_.choice((2, 100))
    return bytes(copy)


def changed_member(data: bytes, random_: random.Random) -> bytes:
    """An archive with one member changed, its checksum right."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(target, "w") as new:
        chosen = random_.choice([name for name in old.namelist() if name.endswith(("data.pkl", ".npy"))])
        for name in old.namelist():
            new.writestr(name, changed(old.read(name), random_) if name == chosen else old.read(name))
    return target.getvalue()


def weight_files() -> Seeds:
    """Small valid files of every format of weights."""
    import torch
    from safetensors.torch import save

    arrays = {
        "a": np.asfortranarray(np.ones((3, 4))),
        "b": np.ones(5, np.float16),
        "c": np.array(3),
        "d": np.float64(2),
    }
    tensors = {"a": torch.ones(3, 4), "b": torch.ones(5).bfloat16(), "c": torch.tensor(3)}
    turned = OrderedDict(tensors | {"t": torch.ones(2, 3).T, "p": torch.nn.Parameter(torch.ones(2))})
    checkpoint = {"model": turned, "optimizer": {"state": {0: {"x": torch.ones(1)}}}, "last": Counter([1])}
    return {
        "pth": [
            _written(lambda out, new=new: torch.save(checkpoint, out, _use_new_zipfile_serialization=new))
            for new in (True, False)
        ],
        "pkl": [pickle.dumps({"model": arrays, "ema": OrderedDict(module=arrays)}, each) for each in (2, 3, 4, 5)],
        "npz": [_written(lambda out, save=save: save(out, **arrays)) for save in (np.savez, np.savez_compressed)],
        "safetensors": [save(tensors)],
    }


def other_files() -> Seeds:
    """Small valid specs, annotations and images."""
    image = {"id": 1, "file_name": "a.png", "width": 4, "height": 5}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "area": 1, "iscrowd": 0}
    document = {"images": [image], "categories": [{"id": 1, "name": "person"}], "annotations": [box]}
    noise = Image.effect_noise((32, 24), 50).convert("RGB")
    forms = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "ICO", "JPEG2000")
    merged = b"inherit: tiny\na: &a {x: 1}\nb: {<<: [*a, *a], y: 2}\nc: !!set {a}\nd: 2024-01-01\ne: 1:2:3\n"
    return {
        "yml": [dump_yaml(preset("tiny")).encode(), merged],
        "json": [json.dumps(document).encode()],
        "image": [_written(lambda out, form=form: noise.save(out, form)) for form in forms],
    }


def cases(seeds: list[bytes], random_: random.Random) -> Iterator[bytes]:
    """Changed files without end."""
    while True:
        seed = random_.choice(seeds)
        inside = seed.startswith(b"PK") and random_.random() < 0.6
        yield (changed_member if inside else changed)(seed, random_)


def read(kind: str, path: Path) -> None:
    """Read a file as the commands do. Raises UserError where it is refused."""
    if kind == "yml":
        load_spec(str(path))
    elif kind == "json":
        with path.open("rb") as stream:
            parse_split(read_document(stream, str(path)), path.parent, "train")
    elif kind == "image":
        load_image(path)
    else:
        for array in read_weights(path).arrays.values():
            np.count_nonzero(array)


def outcome(kind: str, path: Path) -> str:
    """``read``, ``refused``, or what is wrong."""
    start = time.monotonic()
    try:
        read(kind, path)
        what = "read"
    except UserError as error:
        what = "refused" if str(error).isprintable() else "a line with control characters"
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
    return what if time.monotonic() - start < MOST_SECONDS else f"more than {MOST_SECONDS} s"


def _written(save: Callable[[Any], object]) -> bytes:
    stream = io.BytesIO()
    save(stream)
    return stream.getvalue()


def _fuzz(arguments: list[str] | None) -> int:
    parser = Parser(prog="python -m experiments.tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="for each format (default: 60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("findings"), metavar="DIR", help="folder of findings")
    given = parser.parse_args(arguments)
    found = 0
    with tempfile.TemporaryDirectory() as folder:
        for kind, seeds in (weight_files() | other_files()).items():
            path, counts, end = Path(folder) / f"a.{kind}", Counter(), time.monotonic() + given.seconds
            for number, data in enumerate(cases(seeds, random.Random(given.seed))):
                if time.monotonic() > end:
                    break
                path.write_bytes(data)
                what = outcome(kind, path)
                counts[what if what in ("read", "refused") else "findings"] += 1
                if what not in ("read", "refused"):
                    given.keep.mkdir(parents=True, exist_ok=True)
                    (given.keep / f"{given.seed}-{number}.{kind}").write_bytes(data)
                    print(f"{given.seed}-{number}.{kind}: {' '.join(what.split())[:200]}")
            found += counts["findings"]
            print(f"{kind:<12} {counts['read']:>8} read {counts['refused']:>8} refused", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{found} findings, at most {peak} MB of memory")
    return FAILED if found else COMPLETE


if __name__ == "__main__":
    sys.exit(run_command(lambda: _fuzz(None)))
