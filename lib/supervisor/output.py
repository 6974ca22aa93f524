"""What processes write, on its way to the log segments: read at once, stamped, never blocking a child.

Whole blocks of lines are stamped with one replace, which is what makes it cheap. A disk that is full costs
log lines, which are counted, and never the child. The format is lib/logs/record.py's.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from lib.files import make_folder
from lib.logs.record import parse, prefix, segment_name
from lib.logs.segments import firsts, next_sequence, remove

BLOCK = 64 * 1024
"""Bytes of one read, and of the longest line that is kept whole before it is written in pieces."""

BIG_BLOCK = 1024 * 1024
"""Bytes of a read, and of the pipe, once a child has filled a normal one: what pipe(7) allows anybody."""

Watch = Callable[[bytes], None]
Listener = Callable[[str, int, str, bytes], None]
"""Called with service, process number, stream and whole lines (each ends in a newline)."""


class ServiceLog:
    """The log of one service: appends to its newest segment, and starts another when that is full or old."""

    def __init__(self, folder: Path, segment_bytes: int, keep: int, listener: Listener | None = None,
                 age: float = 0.0, rotated: Callable[[], None] | None = None) -> None:  # fmt: skip
        """`listener` also gets every block of lines, for a terminal that watches.

        Lines older than `age` seconds (0: any) are deleted by others, a closed segment at a time, so none is
        written to for longer than its part of that. `rotated` hears that a segment was closed.

        Raises: StorageError.
        """
        self.folder = make_folder(folder, 0o700)
        self.dropped = 0
        """Lines that could not be written since the start."""
        self._untold = 0
        """Those of them of which the log does not say yet that they are missing."""
        self._why = ""
        self._listener = listener
        self._rotated = rotated
        self._begun = 0.0
        self.change(segment_bytes, keep, age)
        self._handle = -1
        self._size = 0
        self._sequence = next_sequence(folder)
        self._go_on()

    def write(self, number: int, stream: str, lines: bytes) -> None:
        """Append `lines` (each ends in a newline) that process `number` wrote to `stream`."""
        now = time.time()
        stamp = prefix(now, number, stream)
        count = lines.count(b"\n")
        block = stamp + (lines if count == 1 else lines[:-1].replace(b"\n", b"\n" + stamp) + b"\n")
        if self._untold:
            self._tell_of_loss(now)
        if not self._append(block, now):
            self.dropped += count
            self._untold += count
        else:
            self._sequence += count
        if self._listener is not None:
            self._listener(self.folder.name, number, stream, lines)

    def change(self, segment_bytes: int, keep: int, age: float) -> None:
        """Keep lines as these say from now on (see __init__)."""
        self._segment_bytes, self._keep = segment_bytes, keep
        self._period = age / keep if age else float("inf")

    def say(self, number: int, text: str) -> None:
        """Append a line of the supervisor's own about process `number` (0: the whole service)."""
        self.write(number, "sys", text.replace("\n", " ").encode() + b"\n")

    def close(self) -> None:
        """Close the segment."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _tell_of_loss(self, now: float) -> None:
        """Say in the log where lines are missing, as soon as that can be written."""
        text = f"{self._untold} lines are missing here: {self._why}\n"
        if self._append(prefix(now, 0, "sys") + text.encode(), now):
            self._sequence += 1
            self._untold = 0

    def _append(self, block: bytes, now: float) -> bool:
        is_full = self._size + len(block) > self._segment_bytes or now - self._begun > self._period
        try:
            if self._handle < 0 or is_full:
                self._next_segment(now)
        except OSError as error:
            self._why = os.strerror(error.errno or errno.EIO)
            if self._handle < 0:
                return False
            # No room for another file may yet be room for a line: the old one grows on.
        try:
            written = os.write(self._handle, block)
            if written < len(block):
                # Half a block would break the count of lines: all of it, or none.
                os.ftruncate(self._handle, self._size)
                self._why = os.strerror(errno.ENOSPC)
                return False
        except OSError as error:
            self._why = os.strerror(error.errno or errno.EIO)
            return False
        self._size += written
        return True

    def _go_on(self) -> None:
        """Write on in the last segment, so that many short runs do not push out each other's logs."""
        with suppress(OSError, IndexError, ValueError):
            path = self.folder / segment_name(firsts(self.folder)[-1])
            handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            size = os.fstat(handle).st_size
            if size < self._segment_bytes and size and os.pread(handle, 1, size - 1) == b"\n":
                self._handle, self._size = handle, size
                first = parse(os.pread(handle, 64, 0).split(b"\n", 1)[0])
                self._begun = datetime.fromisoformat(first[0]).timestamp() if first else 0.0
            else:
                os.close(handle)

    def _next_segment(self, now: float) -> None:
        path = self.folder / segment_name(self._sequence)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.close()
        self._handle, self._size, self._begun = handle, os.fstat(handle).st_size, now
        for first in firsts(self.folder)[: -self._keep]:
            remove(self.folder, first)
        if self._rotated is not None:
            self._rotated()


class OutputPipe:
    """One stream of one process: `writer` is the child's end; lines go to the log until no writer is left.

    With a `path` it is a named pipe that the child holds open for reading, too: if the supervisor dies the
    child meets no broken pipe, writes on until the pipe is full, and the next supervisor reads on there.
    """

    def __init__(
        self, log: ServiceLog, number: int, stream: str, watch: Watch | None = None, path: Path | None = None
    ) -> None:
        """`watch` gets each block of lines (a log probe). A pipe that is at `path` already is read on; where
        the disk has no room for one, an unnamed pipe serves, which ends with the supervisor.

        Raises: OSError.
        """
        if path is not None and not _make_fifo(path):
            log.say(number, f"no room for the named pipe of {stream}: it ends with this supervisor")
            path = None
        if path is None:
            reader, writer = os.pipe2(os.O_CLOEXEC)
        else:
            reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                writer = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except OSError:
                os.close(reader)
                raise
        self._begin(log, number, stream, watch, path, reader, writer)

    @classmethod
    def over(
        cls, log: ServiceLog, number: int, stream: str, watch: Watch | None, reader: int, writer: int
    ) -> OutputPipe:
        """One over descriptors that are open already, as a terminal's."""
        made = cls.__new__(cls)
        made._begin(log, number, stream, watch, None, reader, writer)
        return made

    def _begin(
        self, log: ServiceLog, number: int, stream: str, watch: Watch | None, path: Path | None, reader: int,
        writer: int,
    ) -> None:  # fmt: skip
        self.watch = watch
        self._log = log
        self._number = number
        self._stream = stream
        self._rest = b""
        self._unfinished = False
        """Whether the last record was a piece of a line that goes on."""
        self._block = BLOCK
        self._path = path
        self._reader, self.writer = reader, writer
        os.set_blocking(reader, False)
        asyncio.get_running_loop().add_reader(self._reader, self._read)

    def started(self) -> None:
        """The child has its own copy of the writer by now."""
        os.close(self.writer)

    def close(self) -> None:
        """Read what is there and stop; used when the process's whole tree is gone."""
        while self._reader >= 0 and self._read():
            pass
        self._end()

    def let_go(self) -> None:
        """Leave the rest to another supervisor, which reads on at the same path."""
        if self._reader < 0:
            return
        asyncio.get_running_loop().remove_reader(self._reader)
        os.close(self._reader)
        self._reader = -1
        if self._rest:
            # The piece of a line that was read: what comes next is its rest.
            self._emit(self._stream + "+", self._rest + b"\n")
            self._rest = b""

    def _read(self) -> bool:
        try:
            block = os.read(self._reader, self._block)
        except BlockingIOError:
            return False
        except OSError:
            # EIO: nobody has the terminal open any more.
            block = b""
        if not block:
            self._end()
            return False
        if len(block) == BLOCK and self._block == BLOCK:
            self._grow()
        end = block.rfind(b"\n") + 1
        if end:
            self._emit(self._stream, self._rest + block[:end])
            self._rest = block[end:]
            self._unfinished = False
        else:
            self._rest += block
        if len(self._rest) > BLOCK:
            self._emit(self._stream + "+", self._rest + b"\n")
            self._rest = b""
            self._unfinished = True
        return True

    def _grow(self) -> None:
        self._block = BIG_BLOCK
        # Refused when the user's pipes are too many already: then the small one serves.
        with suppress(OSError):
            fcntl.fcntl(self._reader, fcntl.F_SETPIPE_SZ, BIG_BLOCK)

    def _emit(self, stream: str, lines: bytes) -> None:
        self._log.write(self._number, stream, lines)
        if self.watch is not None:
            self.watch(lines)

    def _end(self) -> None:
        if self._reader < 0:
            return
        asyncio.get_running_loop().remove_reader(self._reader)
        os.close(self._reader)
        self._reader = -1
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        if self._rest or self._unfinished:
            # An unfinished line must end, or the next child's first line would be taken for its rest.
            self._emit(self._stream, self._rest + b"\n")
            self._rest, self._unfinished = b"", False


def _make_fifo(path: Path) -> bool:
    """Make a named pipe at `path` if there is none; False when the disk has no room for it.

    Raises: OSError.
    """
    try:
        os.mkfifo(path, 0o600)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return False
    return True
