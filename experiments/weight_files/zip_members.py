"""The members of a zip archive in memory, read without Python's own reader, which decompresses without a limit."""

import mmap
import struct
import zipfile
import zlib
from pathlib import Path

from experiments.untrusted import Budget


def map_file(path: Path) -> mmap.mmap:
    """The bytes of a file, which stay on the disk until they are used; writing to them does not change the file."""
    with path.open("rb") as stream:
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)


def members(path: Path) -> dict[str, zipfile.ZipInfo]:
    """The directory of an archive, by name. Broken archives raise many kinds of exceptions."""
    with zipfile.ZipFile(path) as archive:
        return {info.filename: info for info in archive.infolist()}


def member_bytes(mapped: mmap.mmap, info: zipfile.ZipInfo, budget: Budget, *, checked: bool = True) -> memoryview:
    """The content of a member: a view of the archive, or decompressed at the cost of the budget.

    Args:
        mapped: the whole archive.
        checked: compare with the checksum in the archive, for which all of it is read.

    Raises:
        UserError: more bytes than the budget has.
        ValueError: encrypted, compressed in an unusual way, or broken; zlib.error and struct.error, too.
    """
    name = info.filename
    if info.flag_bits & 1:
        raise ValueError(f"{name!r:.60} is encrypted")
    mark, name_length, extra_length = struct.unpack_from("<4s22xHH", mapped, info.header_offset)
    start = info.header_offset + 30 + name_length + extra_length
    stored = memoryview(mapped)[start : start + info.compress_size]
    if mark != b"PK\x03\x04" or len(stored) != info.compress_size:
        raise ValueError(f"{name!r:.60} is not where the archive's directory says")
    if info.compress_type == zipfile.ZIP_DEFLATED:
        budget.take(info.file_size)
        unpacked = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, info.file_size + 1)
        content = memoryview(bytearray(unpacked))
    elif info.compress_type == zipfile.ZIP_STORED:
        content = stored
    else:
        raise ValueError(f"{name!r:.60} is compressed by method {info.compress_type}")
    if len(content) != info.file_size or (checked and zlib.crc32(content) != info.CRC):
        raise ValueError(f"the content of {name!r:.60} is not what the archive's directory says")
    return content
