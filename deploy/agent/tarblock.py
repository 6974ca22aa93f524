"""The headers of our tars, bit by bit: POSIX.1-1988 ustar, with a pax header where a name needs one.

Only one way to write a header is right here, and the reader takes nothing else: what it has parsed it writes
again and compares. So nothing in a tar can mean two things. Format: pax(1) of POSIX.1-2001, "ustar
Interchange Format" and "pax Extended Header".
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

from deploy.agent.errors import AgentError

BLOCK = 512
FILE, LINK, PAX = b"0", b"2", b"x"
FILE_MODES = (0o644, 0o755)
LINK_MODE = 0o777
MAX_SIZE = 8**11 - 1
"""Bytes of a file: what the size's eleven octal digits can say (8 GiB less one)."""
PATH_MAX = 1024
"""Bytes of a path in a tree: with the folders above it, it must stay below the kernel's own 4096."""
PAX_NAME = "././@PaxHeader"
PAX_MAX = 4 * BLOCK * 2
"""Bytes of a pax header's records: a path, a target, and the words around them."""
_NOBODY = b"0000000\0"
"""Of user, group and device numbers: a tree has none."""
_FIELDS = struct.Struct("100s8s8s8s12s12s8s1s100s6s2s32s32s8s8s155s12x")
_RECORD = re.compile(rb"([1-9][0-9]{0,4}) (path|linkpath)=")


@dataclass(frozen=True)
class Header:
    """One member: `mode` is 0644, 0755 or, for a symbolic link to `target`, 0777; `size` of the content."""

    path: str
    mode: int
    size: int
    mtime: int
    target: str = ""

    def encode(self) -> bytes:
        """The member's blocks up to its content.

        Raises: AgentError for what the format cannot say.
        """
        if not 0 <= self.size <= MAX_SIZE or not 0 <= self.mtime <= MAX_SIZE:
            raise AgentError(f"{self.path!r}: its size or time is out of bounds")
        kind = LINK if self.mode == LINK_MODE else FILE
        block = _ustar(self.path, self.mode, self.size, self.mtime, kind, self.target)
        long = [
            (key, text) for key, text in (("path", self.path), ("linkpath", self.target)) if _is_long(text)
        ]
        if not long:
            return block
        records = b"".join(_record(key, text) for key, text in long)
        return _ustar(PAX_NAME, 0o644, len(records), 0, PAX, "") + padded(records) + block


def padded(data: bytes) -> bytes:
    """`data`, filled with zeros to whole blocks."""
    return data + bytes(-len(data) % BLOCK)


def read_header(stream: BinaryIO) -> Header | None:
    """The next member; None at the end of the archive, after which there must be nothing more.

    Raises: AgentError for anything that `Header.encode` would not have written.
    """
    block = read_exactly(stream, BLOCK)
    if block == bytes(BLOCK):
        if read_exactly(stream, BLOCK) != bytes(BLOCK) or stream.read(1):
            raise AgentError("a bad archive: something follows its end")
        return None
    raw, names = block, {}
    if block[156:157] == PAX:
        size = _octal(block[124:136])
        if size > PAX_MAX:
            raise AgentError("a bad archive: a header is too long")
        records = read_exactly(stream, size + -size % BLOCK)
        names = _names(records[:size])
        block = read_exactly(stream, BLOCK)
        raw += records + block
    header = Header(
        names.get("path") or _text(block[:100]), _octal(block[100:108]), _octal(block[124:136]),
        _octal(block[136:148]), names.get("linkpath") or _text(block[157:257]),
    )  # fmt: skip
    is_link = block[156:157] == LINK
    if is_link != (header.mode == LINK_MODE) or is_link != bool(header.target) or (is_link and header.size):
        raise AgentError(f"a bad archive: {header.path!r} is neither a plain file nor a link")
    if not is_link and header.mode not in FILE_MODES:
        raise AgentError(f"a bad archive: {header.path!r} has the mode {header.mode:o}")
    if header.encode() != raw:
        raise AgentError(f"a bad archive: the header of {header.path!r} is not as it must be")
    return header


def read_exactly(stream: BinaryIO, size: int) -> bytes:
    """`size` bytes of the stream.

    Raises: AgentError where it ends before.
    """
    data = stream.read(size)
    if len(data) != size:
        raise AgentError("a bad archive: it is cut off")
    return data


def _ustar(path: str, mode: int, size: int, mtime: int, kind: bytes, target: str) -> bytes:
    block = _FIELDS.pack(
        _short(path), b"%07o\0" % mode, _NOBODY, _NOBODY, b"%011o\0" % size, b"%011o\0" % mtime,
        b" " * 8, kind, _short(target), b"ustar\0", b"00", b"", b"", _NOBODY, _NOBODY, b"",
    )  # fmt: skip
    # The checksum is taken with spaces in its own place, and ends with NUL and space.
    return b"%b%06o\0 %b" % (block[:148], sum(block), block[156:])


def _is_long(text: str) -> bool:
    """Whether the old field cannot say it."""
    return len(text) > 100 or not text.isascii()


def _short(text: str) -> bytes:
    """What stands in the old field; where it does not say all, a pax record does."""
    return text.encode("ascii", "replace")[:100]


def _record(key: str, text: str) -> bytes:
    """`LENGTH key=text\\n`, whose length counts its own digits."""
    rest = f" {key}={text}\n".encode()
    length = len(rest)
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return str(length).encode() + rest


def _names(records: bytes) -> dict[str, str]:
    names: dict[str, str] = {}
    while records:
        match = _RECORD.match(records)
        length = int(match[1]) if match else 0
        if not match or not match.end() < length <= len(records) or match[2].decode() in names:
            raise AgentError("a bad archive: a pax header that is not ours")
        names[match[2].decode()] = _text(records[match.end() : length - 1])
        records = records[length:]
    return names


def _octal(field: bytes) -> int:
    # int() takes more than there may be, as `+7`: the header that is written again does not look so.
    try:
        return int(field.rstrip(b"\0"), 8)
    except ValueError as error:
        raise AgentError("a bad archive: a number in a header is none") from error


def _text(field: bytes) -> str:
    try:
        return field.rstrip(b"\0").decode()
    except UnicodeDecodeError as error:
        raise AgentError("a bad archive: a name is not UTF-8") from error
