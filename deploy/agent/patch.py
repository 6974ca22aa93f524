"""Patches from one tar to another, on the side that applies them.

A patch is a list of operations over the old tar, which rebuild the new one to the byte:

    "ampzero-patch-1\\n"  mtime u64  size u64            of the new tar
    T  offset u64  length u64                           old members, with the new tar's one time
    P  offset u64  length u64  size u32  packed u32  …  a zstd frame whose prefix is that part of the old tar
    R  size u32  packed u32  …                          a zstd frame of its own
    E                                                   the end; two blocks of zeros follow in the tar

All numbers are big-endian. Hashes are the caller's: that of the patch before it is opened, that of the old
tar, and that of the new one when it is on the disk. Nothing is believed for it: every number is bounded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from deploy.agent.errors import AgentError
from deploy.agent.tarblock import BLOCK, Header, read_exactly, read_header

MAGIC = b"ampzero-patch-1\n"
HEAD = struct.Struct(">QQ")
RANGE = struct.Struct(">QQ")
FRAME = struct.Struct(">II")
SEGMENT = 8 * 1024 * 1024
"""Bytes of new content in one frame at most, so that applying needs little memory."""
MARGIN = 4 * 1024 * 1024
"""Bytes of old content before and after a segment that its prefix may have."""
PREFIX_MAX = SEGMENT + 2 * MARGIN
WINDOW_LOG = 25
"""Of a frame's window: 32 MiB, which covers a prefix and its segment."""
LARGEST = 64 * 1024**3
CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Member:
    """One member of a tar: bytes from `offset` (its header's first) to `end` (after its padding)."""

    offset: int
    header: Header
    content: int
    end: int


def members(stream: BinaryIO) -> Iterator[Member]:
    """The members of a tar of ours, from where the stream stands to its end.

    Raises: AgentError.
    """
    while True:
        offset = stream.tell()
        header = read_header(stream)
        if header is None:
            return
        content = stream.tell()
        end = content + header.size + -header.size % BLOCK
        yield Member(offset, header, content, end)
        stream.seek(end)


def apply(patch: Path, old: Path, out: Path) -> None:
    """Write to `out` the tar that `patch` makes of the tar `old`. Not synced, not verified.

    Raises: AgentError; what `out` holds then is worth nothing.
    """
    with patch.open("rb") as source, old.open("rb") as base, out.open("wb") as target:
        try:
            _apply(source, base, target)
        except OSError as error:
            raise AgentError(f"cannot rebuild {out.name}: {error.strerror}", exit_code=8) from error


def _apply(source: BinaryIO, base: BinaryIO, target: BinaryIO) -> None:
    if read_exactly(source, len(MAGIC)) != MAGIC:
        raise AgentError("not a patch")
    mtime, size = HEAD.unpack(read_exactly(source, HEAD.size))
    if size > LARGEST:
        raise AgentError("a bad patch: the new tar is too large")
    old_size = base.seek(0, 2)
    written = 0
    while (kind := read_exactly(source, 1)) != b"E":
        if kind == b"T":
            offset, length = _range(source, old_size)
            written += _retimed(base, offset, length, mtime, target)
        elif kind in (b"P", b"R"):
            prefix = b""
            if kind == b"P":
                offset, length = _range(source, old_size)
                if length > PREFIX_MAX:
                    raise AgentError("a bad patch: a prefix is too large")
                base.seek(offset)
                prefix = read_exactly(base, length)
            written += target.write(_frame(source, prefix))
        else:
            raise AgentError("a bad patch: an unknown operation")
        if written > size:
            raise AgentError("a bad patch: it makes more than it says")
    if source.read(1):
        raise AgentError("a bad patch: something follows its end")
    target.write(bytes(2 * BLOCK))
    if written + 2 * BLOCK != size:
        raise AgentError("a bad patch: it makes less than it says")


def _range(source: BinaryIO, limit: int) -> tuple[int, int]:
    offset, length = RANGE.unpack(read_exactly(source, RANGE.size))
    if not 0 < length <= limit - offset:
        raise AgentError("a bad patch: it points outside of the old tar")
    return offset, length


def _retimed(base: BinaryIO, offset: int, length: int, mtime: int, target: BinaryIO) -> int:
    """Copy whole members with another time in their headers; how many bytes that made."""
    made = 0
    base.seek(offset)
    while base.tell() < offset + length:
        header = read_header(base)
        if header is None:
            raise AgentError("a bad patch: it points at the end of the old tar")
        made += target.write(replace(header, mtime=mtime).encode())
        left = header.size + -header.size % BLOCK
        while left:
            chunk = read_exactly(base, min(CHUNK, left))
            made += target.write(chunk)
            left -= len(chunk)
    if base.tell() != offset + length:
        raise AgentError("a bad patch: it points into the midst of a file")
    return made


def _frame(source: BinaryIO, prefix: bytes) -> bytes:
    size, packed = FRAME.unpack(read_exactly(source, FRAME.size))
    if size > SEGMENT or packed > SEGMENT + CHUNK:
        raise AgentError("a bad patch: a frame is too large")
    zstd = load_zstd()
    dictionary = zstd.ZstdDict(prefix, is_raw=True).as_prefix if prefix else None
    options = {zstd.DecompressionParameter.window_log_max: WINDOW_LOG}
    try:
        unpacker = zstd.ZstdDecompressor(zstd_dict=dictionary, options=options)
        data: bytes = unpacker.decompress(read_exactly(source, packed), max_length=size + 1)
    except (zstd.ZstdError, EOFError) as error:
        raise AgentError(f"a bad patch: {error}") from error
    if len(data) != size or not unpacker.eof or unpacker.unused_data:
        raise AgentError("a bad patch: a frame is not what it says")
    return data


def load_zstd() -> Any:
    """Python's own zstd (3.14), or its backport, which comes with the tool's tree.

    Raises: AgentError where there is neither.
    """
    import importlib

    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise AgentError(
        "this host has no zstd to apply a patch with", "deploy again: the whole archive is sent then", 5
    )
