"""Logs whose closed segments are compressed and deleted while they are written and read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.logs import segments, tidy
from lib.logs.merge import Follower, Selection, read, tail
from lib.logs.reader import ServiceReader
from lib.logs.record import segment_name, segment_sequence
from lib.logs.segment import PackedSegment, open_segment
from lib.supervisor.output import ServiceLog

KEEP_ALL = 10_000
LINES = st.lists(st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b"")), min_size=1, max_size=6)
STEPS = st.lists(
    st.one_of(LINES, st.sampled_from(["tidy", "poll", "resume", "restart", "crash", "left over"])),
    max_size=60,
)


def pack(folder: Path) -> None:
    assert tidy.tidy(folder, 0.0, True, time.time()) == []


def crash_between(folder: Path) -> None:
    """Compress the newest closed segment, but die before the plain one goes."""
    if closed := segments.firsts(folder)[:-1]:
        plain = folder / segment_name(closed[-1])
        if plain.exists():
            kept = plain.read_bytes()
            pack(folder)
            plain.write_bytes(kept)


@settings(max_examples=150)
@given(STEPS)
def test_what_is_written_is_read_whatever_is_compressed_meanwhile(
    tmp_path_factory: pytest.TempPathFactory, steps: list[list[bytes] | str]
) -> None:
    logs = tmp_path_factory.mktemp("logs")
    folder = logs / "web"
    log = ServiceLog(folder, 300, KEEP_ALL)
    written: list[bytes] = []
    polled: list[bytes] = []
    reader = ServiceReader(folder)
    for step in steps:
        if isinstance(step, list):
            log.write(1, "out", b"".join(line + b"\n" for line in step))
            written += step
        elif step == "tidy":
            pack(folder)
        elif step == "crash":
            crash_between(folder)
        elif step == "left over":
            (folder / (segment_name(0) + tidy.ASIDE)).write_bytes(b"\x1f\x8bhalf")
        elif step == "poll":
            polled += [record.text for record in reader.poll(70)]
        elif step == "resume":
            position = reader.position
            reader.close()
            reader = ServiceReader(folder)
            reader.seek(position)
        else:
            log.close()
            log = ServiceLog(folder, 300, KEEP_ALL)
    while records := reader.poll():
        polled += [record.text for record in records]
    assert polled == written
    assert reader.gap == 0
    records = list(read(logs))
    assert [record.text for record in records] == written
    assert [record.sequence for record in records] == list(range(len(written)))
    assert tail(logs, lines=7) == records[-7:]
    for record in records[:: max(1, len(records) // 5)]:
        since = list(read(logs, selection=Selection(since=record.time)))
        assert since == [each for each in records if each.time >= record.time]
    assert segments.next_sequence(folder) == len(written)
    reader.close()
    log.close()


def filled(folder: Path, count: int = 100, segment: int = 400) -> ServiceLog:
    log = ServiceLog(folder, segment, KEEP_ALL)
    for number in range(count):
        log.write(1, "out", b"%d\n" % number)
    return log


def test_only_closed_segments_are_compressed_with_their_mode_and_time(tmp_path: Path) -> None:
    folder = tmp_path / "web"
    filled(folder).close()
    names = sorted(path.name for path in folder.iterdir())
    os.utime(folder / names[0], (1000, 1000))
    pack(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        *(f"{name}.gz" for name in names[:-1]),
        names[-1],
    ]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert (folder / f"{names[0]}.gz").stat().st_mtime == 1000
    assert [segment_sequence(f"{name}.gz") for name in names] == [segment_sequence(name) for name in names]
    whole = subprocess.run(["gzip", "-dc", folder / f"{names[0]}.gz"], capture_output=True, check=True).stdout
    assert whole.startswith(b"20") and whole.endswith(b"\n")


def test_sequences_count_on_where_only_compressed_segments_are_left(tmp_path: Path) -> None:
    folder = tmp_path / "web"
    filled(folder).close()
    pack(folder)
    (folder / segment_name(segments.firsts(folder)[-1])).unlink()
    following = segments.next_sequence(folder)
    assert 0 < following < 100
    log = ServiceLog(folder, 400, KEEP_ALL)
    log.write(1, "out", b"on\n")
    log.close()
    assert [record.sequence for record in read(tmp_path)] == list(range(following + 1))


def test_old_segments_go_and_the_newest_stays(tmp_path: Path) -> None:
    folder = tmp_path / "web"
    filled(folder).close()
    firsts = segments.firsts(folder)
    pack(folder)
    for path in folder.iterdir():
        os.utime(path, (1000, 1000))
    new = folder / (segment_name(firsts[2]) + ".gz")
    os.utime(new)
    assert tidy.tidy(folder, 60.0, False, time.time()) == []
    assert segments.firsts(folder) == [firsts[2], firsts[-1]]


def test_a_segment_is_closed_when_it_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of the age for four segments, also over a restart."""
    now = time.time()
    folder = tmp_path / "web"
    rotated: list[int] = []

    def log() -> ServiceLog:
        return ServiceLog(folder, 1 << 20, 4, age=400.0, rotated=lambda: rotated.append(1))

    one = log()
    for later in (0, 50, 99, 101, 150):
        monkeypatch.setattr(time, "time", lambda later=later: now + later)
        one.write(1, "out", b"x\n")
    assert segments.firsts(folder) == [0, 3]
    one.close()
    one = log()
    monkeypatch.setattr(time, "time", lambda: now + 190)
    one.write(1, "out", b"x\n")
    monkeypatch.setattr(time, "time", lambda: now + 202)
    one.write(1, "out", b"x\n")
    # A clock that jumps back closes nothing.
    monkeypatch.setattr(time, "time", lambda: now - 9000)
    one.write(1, "out", b"x\n")
    one.close()
    assert segments.firsts(folder) == [0, 3, 6]
    assert len(rotated) == 3


def test_a_follower_goes_on_over_rotation_compression_and_deletion(tmp_path: Path) -> None:
    folder = tmp_path / "web"
    log = ServiceLog(folder, 400, 3)
    with Follower(tmp_path) as follower:
        seen = [record.text for record in follower.tail(10)]
        for number in range(500):
            log.write(1, "out", b"%d\n" % number)
            if number % 7 == 0:
                pack(folder)
            if number % 5 == 0:
                seen += [record.text for record in follower.poll()]
        while records := follower.poll():
            seen += [record.text for record in records]
    log.close()
    assert seen == [b"%d" % number for number in range(500)]


def test_a_compressed_segment_that_is_broken_ends_where_it_breaks(tmp_path: Path) -> None:
    folder = tmp_path / "web"
    filled(folder, 2000, 40_000).close()
    pack(folder)
    path = folder / (segment_name(0) + ".gz")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with ServiceReader(folder) as reader:
        sequences = []
        while records := reader.poll():
            sequences += [record.sequence for record in records]
        assert sequences[-1] == 1999
        assert reader.gap + len(sequences) in (2000, 2001)  # a line that breaks off is one
        assert reader.gap > 0
    path.write_bytes(b"not gzip at all")
    assert [record.sequence for record in read(tmp_path)][-1] == 1999
    segment = open_segment(folder, 0)
    assert isinstance(segment, PackedSegment)
    assert segment.size() == 0
    segment.close()


def test_a_kill_at_any_moment_leaves_every_line(tmp_path: Path) -> None:
    """The real program, killed after another while each time; the log is whole, and the last run finishes."""
    folder = tmp_path / "web"
    log = ServiceLog(folder, 400_000, KEEP_ALL)
    block = b"".join(b"%050d\n" % number for number in range(1000))
    for _ in range(60):
        log.write(1, "out", block)
    log.close()
    before = list(read(tmp_path))
    argv = [sys.executable, "-I", "-S", tidy.__file__, str(tmp_path), "0", "1"]
    moments = 0
    for delay in range(40):
        one = subprocess.Popen(argv)
        try:
            one.wait(0.02 + delay * 0.004)
        except subprocess.TimeoutExpired:
            moments += 1
            one.send_signal(signal.SIGKILL)
            one.wait()
        assert segments.next_sequence(folder) == 60_000
    assert moments > 3
    assert list(read(tmp_path)) == before
    assert subprocess.run(argv, check=False).returncode == 0
    assert list(read(tmp_path)) == before
    assert [path.suffix for path in sorted(folder.iterdir())] == [".gz"] * (
        len(list(folder.iterdir())) - 1
    ) + [".log"]


def test_two_at_a_time_do_no_harm(tmp_path: Path) -> None:
    folder = tmp_path / "web"
    filled(folder, 3000, 4000).close()
    before = list(read(tmp_path))
    argv = [sys.executable, "-I", "-S", tidy.__file__, str(tmp_path), "0", "1"]
    both = [subprocess.Popen(argv) for _ in range(2)]
    assert [one.wait(60) for one in both] == [0, 0]
    assert list(read(tmp_path)) == before
    assert not list(folder.glob(f"*{tidy.ASIDE}"))
