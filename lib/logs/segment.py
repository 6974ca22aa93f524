"""One open segment of a log, as plain text or compressed: read from anywhere, the same way for both.

A compressed segment is unpacked while it is read and never as a whole: reading costs neither memory nor disk.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lib.logs.record import PACKED_SUFFIX, segment_name

if TYPE_CHECKING:
    import gzip

IDENTITY_BYTES = 64
"""Of the first line, that tell a segment from another of the same name (its time is among them)."""


class Segment(Protocol):
    """A segment from whose lines is read. Offsets are those of the plain text."""

    first: int

    def read(self, size: int) -> bytes:
        """At most `size` bytes from where it stands; empty at the end."""

    def seek(self, offset: int) -> None:
        """Stand at byte `offset`."""

    def tell(self) -> int:
        """Where it stands."""

    def peek(self, size: int, offset: int) -> bytes:
        """At most `size` bytes from `offset` on, without standing there then."""

    def size(self) -> int:
        """How many bytes there are now."""

    def is_gone(self) -> bool:
        """Whether the file may have been deleted, or another may have taken its place."""

    def close(self) -> None:
        """Let go of the file."""


class PlainSegment:
    """One that the supervisor may be writing to."""

    def __init__(self, folder: Path, first: int) -> None:
        """Raises: OSError."""
        self.first = first
        self._handle = os.open(folder / segment_name(first), os.O_RDONLY | os.O_CLOEXEC)

    def read(self, size: int) -> bytes:
        """See Segment."""
        return os.read(self._handle, size)

    def seek(self, offset: int) -> None:
        """See Segment."""
        os.lseek(self._handle, offset, os.SEEK_SET)

    def tell(self) -> int:
        """See Segment."""
        return os.lseek(self._handle, 0, os.SEEK_CUR)

    def peek(self, size: int, offset: int) -> bytes:
        """See Segment."""
        return os.pread(self._handle, size, offset)

    def size(self) -> int:
        """See Segment."""
        return os.fstat(self._handle).st_size

    def is_gone(self) -> bool:
        """See Segment."""
        return os.fstat(self._handle).st_nlink == 0

    def close(self) -> None:
        """See Segment."""
        os.close(self._handle)


class PackedSegment:
    """One that was closed and compressed. What cannot be unpacked (a broken disk) counts as its end."""

    def __init__(self, folder: Path, first: int) -> None:
        """Raises: OSError."""
        import gzip

        self.first = first
        self._file: gzip.GzipFile = gzip.open(folder / (segment_name(first) + PACKED_SUFFIX), "rb")  # noqa: SIM115 -- see close
        self._size = -1

    def read(self, size: int) -> bytes:
        """See Segment."""
        try:
            return self._file.read1(size)
        except (OSError, EOFError, zlib.error):
            return b""

    def seek(self, offset: int) -> None:
        """See Segment."""
        try:
            self._file.seek(offset)
        except (OSError, EOFError, zlib.error):
            self._file.seek(0)

    def tell(self) -> int:
        """See Segment."""
        return self._file.tell()

    def peek(self, size: int, offset: int) -> bytes:
        """See Segment."""
        here = self.tell()
        self.seek(offset)
        found = b""
        while len(found) < size and (block := self.read(size - len(found))):
            found += block
        self.seek(here)
        return found

    def size(self) -> int:
        """See Segment."""
        if self._size < 0:
            here = self.tell()
            self._size = here
            while block := self.read(1 << 20):
                self._size += len(block)
            self.seek(here)
        return self._size

    def is_gone(self) -> bool:
        """See Segment."""
        return True

    def close(self) -> None:
        """See Segment."""
        self._file.close()


def open_segment(folder: Path, first: int) -> Segment | None:
    """The segment that begins with the sequence `first`; None when it is gone."""
    try:
        return PlainSegment(folder, first)
    except OSError:
        pass
    # In this order: the compressed one is there before the plain one goes.
    try:
        return PackedSegment(folder, first)
    except OSError:
        return None


def identity(segment: Segment) -> int:
    """A number that stays with a segment when it is compressed, and differs from that of another segment that
    once had its name; 0 while it is empty.
    """
    line = segment.peek(IDENTITY_BYTES, 0).split(b"\n", 1)[0]
    return zlib.crc32(line) or 1 if line else 0
