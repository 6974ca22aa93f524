"""Making the patch from one tar to another; what it looks like is deploy/agent/patch.py's.

A member that did not change is a reference to the old tar. One that did is compressed with its old content
as the prefix; one whose name is new, with that of the most similar name (a library with its version in it,
a file that was moved).
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from deploy.agent.errors import AgentError
from deploy.agent.patch import (
    FRAME,
    HEAD,
    MAGIC,
    MARGIN,
    RANGE,
    SEGMENT,
    WINDOW_LOG,
    Member,
    load_zstd,
    members,
)
from deploy.agent.tarblock import BLOCK
from lib.errors import AmpzeroError

SMALL = 256 * 1024
"""Bytes up to which a segment is worth the slowest level."""
LEVEL_SMALL, LEVEL_LARGE = 19, 9
"""Level 12 makes large patches 2 % smaller with 30 MB more memory, 15 another 1 % in ten times the time."""
VARIABLE = re.compile(r"[0-9a-f]{6,}|[0-9]+(?:\.[0-9]+)*")
"""What changes in a name from version to version: numbers and hashes (and capitals)."""


@dataclass(frozen=True)
class _Known:
    """An old member with the hash of what it is, its time apart."""

    member: Member
    digest: bytes


def build(old: Path, new: Path, out: Path) -> None:
    """Write to `out` the patch that makes the tar `new` of the tar `old`.

    Raises: AmpzeroError where one of them is not a tar of ours; OSError.
    """
    try:
        with old.open("rb") as base, new.open("rb") as source, out.open("wb") as target:
            _Builder(base, source, target).build()
    except AgentError as error:
        raise AmpzeroError(f"cannot make a patch: {error.message}", error.hint) from error


class _Builder:
    def __init__(self, base: BinaryIO, source: BinaryIO, target: BinaryIO) -> None:
        self._base = base
        self._source = source
        self._target = target
        self._zstd = load_zstd()
        self._kept = (0, 0)
        """The range of old members that is not written yet: offset and end."""
        self._fresh: list[tuple[int, int]] = []
        """Ranges of the new tar that have nothing like them in the old one, not written yet."""

    def build(self) -> None:
        by_path = {known.member.header.path: known for known in self._scan(self._base)}
        by_name = defaultdict(list)
        for known in by_path.values():
            shape = _shape(known.member.header.path)
            by_name[shape].append(known)
            by_name[_last(shape)].append(known)
        size = self._source.seek(0, 2)
        self._source.seek(0)
        first = next(members(self._source), None)
        self._source.seek(0)
        self._target.write(MAGIC + HEAD.pack(first.header.mtime if first else 0, size))
        for new in self._scan(self._source):
            path = new.member.header.path
            old = by_path.get(path)
            if old is not None and old.digest == new.digest:
                self._keep(old.member)
                continue
            shape = _shape(path)
            near = old or _nearest(new, by_name.get(shape) or by_name.get(_last(shape), []))
            if near is None:
                self._add(new.member)
            else:
                self._change(near.member, new.member)
        self._flush()
        self._target.write(b"E")

    def _scan(self, stream: BinaryIO) -> Iterator[_Known]:
        stream.seek(0)
        for member in members(stream):
            digest = hashlib.sha256(
                repr((member.header.path, member.header.mode, member.header.target)).encode()
            )
            left = member.header.size
            while left:
                chunk = stream.read(min(1024 * 1024, left))
                digest.update(chunk)
                left -= len(chunk)
            at = stream.tell()
            yield _Known(member, digest.digest())
            stream.seek(at)

    def _keep(self, member: Member) -> None:
        self._flush_fresh()
        if self._kept[1] != member.offset:
            self._flush_kept()
            self._kept = (member.offset, member.offset)
        self._kept = (self._kept[0], member.end)

    def _add(self, member: Member) -> None:
        self._flush_kept()
        if self._fresh and member.end - self._fresh[0][0] > SEGMENT:
            self._flush_fresh()
        self._fresh.append((member.offset, member.end))

    def _change(self, old: Member, new: Member) -> None:
        self._flush()
        length = old.end - old.offset
        for start in range(new.offset, new.end, SEGMENT):
            end = min(start + SEGMENT, new.end)
            # The same place in the old member, with some more on both sides for what has moved.
            low = max(0, min(start - new.offset - MARGIN, length))
            high = min(length, end - new.offset + MARGIN)
            if high - low < BLOCK:
                self._raw(start, end)
                continue
            offset = old.offset + low
            self._base.seek(offset)
            prefix = self._base.read(high - low)
            self._frame(b"P" + RANGE.pack(offset, len(prefix)), start, end, prefix)

    def _flush(self) -> None:
        self._flush_kept()
        self._flush_fresh()

    def _flush_kept(self) -> None:
        offset, end = self._kept
        if end > offset:
            self._target.write(b"T" + RANGE.pack(offset, end - offset))
        self._kept = (0, 0)

    def _flush_fresh(self) -> None:
        if self._fresh:
            start, end = self._fresh[0][0], self._fresh[-1][1]
            for at in range(start, end, SEGMENT):
                self._raw(at, min(at + SEGMENT, end))
        self._fresh = []

    def _raw(self, start: int, end: int) -> None:
        self._frame(b"R", start, end, b"")

    def _frame(self, head: bytes, start: int, end: int, prefix: bytes) -> None:
        at = self._source.tell()
        self._source.seek(start)
        data = self._source.read(end - start)
        self._source.seek(at)
        parameter = self._zstd.CompressionParameter
        packed = self._zstd.compress(
            data,
            options={
                parameter.compression_level: LEVEL_SMALL if len(data) <= SMALL else LEVEL_LARGE,
                parameter.window_log: _window_log(len(prefix) + len(data)),
                parameter.enable_long_distance_matching: int(len(data) > SMALL),
                parameter.checksum_flag: 1,
            },
            zstd_dict=self._zstd.ZstdDict(prefix, is_raw=True).as_prefix if prefix else None,
        )
        self._target.write(head + FRAME.pack(len(data), len(packed)) + packed)


def _window_log(size: int) -> int:
    return max(10, min(WINDOW_LOG, size.bit_length()))


def _shape(path: str) -> str:
    """A path without what changes from version to version."""
    return VARIABLE.sub("#", path.lower())


def _last(shape: str) -> str:
    """The file's own name; a slash before it keeps it apart from a file at the top."""
    return "/" + shape.rpartition("/")[2]


def _nearest(new: _Known, candidates: list[_Known]) -> _Known | None:
    """The candidate whose size is the nearest."""
    size = new.member.header.size
    return min(candidates, key=lambda known: abs(known.member.header.size - size), default=None)
