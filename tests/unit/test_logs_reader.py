from __future__ import annotations

import shutil
import time
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.logs.merge import Follower, Selection, follow, read, tail
from lib.logs.reader import Position, ServiceReader
from lib.logs.record import Record, parse, prefix, segment_name, segment_sequence, stamp, unix
from lib.logs.segments import next_sequence

START = 1_790_000_000.0


class Writer:
    """The format, written the plainest way: one record a call, a new segment on demand."""

    def __init__(self, logs: Path, service: str, first: int = 0, now: float = START) -> None:
        self.folder = logs / service
        self.folder.mkdir(parents=True, exist_ok=True)
        self.sequence = self.first = first
        self.now = now

    @property
    def path(self) -> Path:
        return self.folder / segment_name(self.first)

    def rotate(self) -> None:
        self.first = self.sequence
        self.path.touch()

    def write(self, text: bytes, number: int = 1, stream: str = "out") -> None:
        self.now += 0.001
        with self.path.open("ab") as segment:
            segment.write(prefix(self.now, number, stream) + text + b"\n")
        self.sequence += 1


Lines = list[tuple[int, str, list[bytes], bool]]
TEXTS = st.binary(max_size=60).map(lambda text: text.replace(b"\n", b""))
LINES = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 2]), st.sampled_from(["out", "err", "sys"]),
        st.lists(TEXTS, min_size=1, max_size=4), st.booleans(),
    ),
    max_size=25,
)  # fmt: skip


def write_pieces(writer: Writer, lines: Lines) -> list[tuple[int, str, bytes]]:
    """Write lines in pieces, interleaved by process and stream; the lines in the order of their ends."""
    queues: dict[tuple[int, str], list[tuple[list[bytes], bool]]] = defaultdict(list)
    for number, stream, pieces, rotate in lines:
        queues[number, stream].append((list(pieces), rotate))
    ended = []
    texts: dict[tuple[int, str], bytes] = defaultdict(bytes)
    while queues:
        for key in list(queues):
            pieces, rotate = queues[key][0]
            piece = pieces.pop(0)
            texts[key] += piece
            writer.write(piece, key[0], key[1] + ("+" if pieces else ""))
            if not pieces:
                ended.append((*key, texts.pop(key)))
                queues[key].pop(0)
            if rotate:
                writer.rotate()
            if not queues[key]:
                del queues[key]
    return ended


def plain(records: list[Record]) -> list[tuple[int, str, bytes]]:
    return [(record.number, record.stream, record.text) for record in records]


@settings(max_examples=80)
@given(LINES)
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, lines: Lines) -> None:
    logs = tmp_path_factory.mktemp("logs")
    ended = write_pieces(Writer(logs, "web"), lines)
    records = list(read(logs))
    assert plain(records) == ended
    assert [record.sequence for record in records] == sorted({record.sequence for record in records})
    for count in (1, 3, 100):
        assert tail(logs, lines=count) == records[-count:]


@settings(max_examples=80)
@given(LINES, st.integers(1, 200), st.integers(0, 12))
def test_a_reader_resumes_at_any_point(
    tmp_path_factory: pytest.TempPathFactory,
    lines: Lines,
    size: int,
    stop: int,
) -> None:
    logs = tmp_path_factory.mktemp("logs")
    ended = write_pieces(Writer(logs, "web"), lines)
    records: list[Record] = []
    position: Position | None = None
    for polls in (stop, stop, 10_000):
        with ServiceReader(logs / "web") as reader:
            if position is not None:
                reader.seek(position)
            for _ in range(polls):
                if not (found := reader.poll(size)):
                    break
                records += found
            position = reader.position
    assert plain(records) == ended


@given(st.binary(max_size=200))
def test_parse_takes_any_bytes(line: bytes) -> None:
    found = parse(line)
    assert found is None or line.startswith(found[0].encode())


def test_times_round_trip_and_sort() -> None:
    assert prefix(0.5, 3, "err+") == b"1970-01-01T00:00:00.500000Z 3 err+ "
    assert unix(stamp(START + 0.123456)) == START + 0.123456
    assert stamp(START) < stamp(START + 1e-6) < stamp(START + 86400)
    assert stamp(0.9999999) == "1970-01-01T00:00:01.000000Z"
    assert segment_sequence(segment_name(42)) == 42
    assert [segment_sequence(name) for name in ("x.log", "1.log", segment_name(1) + ".tmp")] == [None] * 3


def test_services_merge_by_time_and_since_halves_its_way(tmp_path: Path) -> None:
    writers = [Writer(tmp_path, "a"), Writer(tmp_path, "b", now=START + 0.0005)]
    for index in range(3000):
        for writer in writers:
            writer.write(b"%d" % index)
            if index % 1000 == 999:
                writer.rotate()
    records = list(read(tmp_path))
    assert [record.text for record in records] == [b"%d" % (index // 2) for index in range(6000)]
    assert [record.service for record in records[:4]] == ["a", "b", "a", "b"]
    for wanted in (0, 1500, 3001, 5999):
        since = records[wanted].time
        assert list(read(tmp_path, selection=Selection(since=since))) == records[wanted:]
    some = Selection(since=records[100].time, until=records[110].time)
    assert list(read(tmp_path, selection=some)) == records[100:110]
    assert tail(tmp_path, lines=7) == records[-7:]
    assert (
        tail(tmp_path, ["b"], lines=2, selection=Selection(text=b"77"))
        == [record for record in records if b"77" in record.text and record.service == "b"][-2:]
    )


def test_a_follower_loses_nothing_over_rotation_and_deletion(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "web")
    for index in range(10):
        writer.write(b"old %d" % index)
    with Follower(tmp_path) as follower:
        assert [record.text for record in follower.tail(2)] == [b"old 8", b"old 9"]
        assert follower.poll() == []
        writer.write(b"new 0")
        first = writer.path
        writer.rotate()
        writer.write(b"new 1")
        first.unlink()
        with writer.path.open("ab") as segment:
            segment.write(b"2026-11-20T21:05:35.123456Z 1 ou")
        late = Writer(tmp_path, "late")
        late.write(b"hello")
        found = [record.text for _ in range(4) for record in follower.poll()]
        assert found == [b"new 0", b"hello", b"new 1"] or sorted(found) == [b"hello", b"new 0", b"new 1"]
        with writer.path.open("ab") as segment:
            segment.write(b"t whole\n")
        assert [record.text for record in follower.poll()] == [b"whole"]
        shutil.rmtree(writer.folder)
        fresh = Writer(tmp_path, "web")
        fresh.write(b"begun again")
        assert [record.text for _ in range(2) for record in follower.poll()] == [b"begun again"]


def test_deleted_lines_are_counted_as_a_gap(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "web")
    writer.write(b"0")
    reader = ServiceReader(tmp_path / "web")
    assert len(reader.poll()) == 1
    position = reader.position
    reader.close()
    for _ in range(3):
        writer.rotate()
        for _ in range(5):
            writer.write(b"x")
    for segment in sorted(writer.folder.iterdir())[:3]:
        segment.unlink()
    with ServiceReader(tmp_path / "web") as later:
        later.seek(position)
        assert len(later.poll()) == 5
        assert later.gap == 10


def test_garbage_and_a_half_line_hide_nothing(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "web")
    writer.write(b"good")
    with writer.path.open("ab") as segment:
        segment.write(b"\x00\xff not a record\n2026-11-20T21:05:35.1")
    assert next_sequence(writer.folder) == 3
    writer.sequence = 3
    writer.rotate()
    writer.write(b"after")
    records = list(read(tmp_path))
    assert [record.text for record in records] == [
        b"good", b"\x00\xff not a record", b"2026-11-20T21:05:35.1", b"after",
    ]  # fmt: skip
    assert [record.sequence for record in records] == [0, 1, 2, 3]
    assert records[1].stream == "sys"


def test_a_block_that_was_taken_back_does_no_harm(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "web")
    writer.write(b"kept")
    size = writer.path.stat().st_size
    with ServiceReader(tmp_path / "web") as reader:
        reader.poll()
        with writer.path.open("ab") as segment:
            segment.write(prefix(START, 1, "out") + b"first\n" + prefix(START, 1, "out") + b"ha")
        assert [record.text for record in reader.poll()] == [b"first"]
        with writer.path.open("rb+") as segment:
            segment.truncate(size)
        assert reader.poll() == []
        writer.write(b"next")
        assert [(record.text, record.sequence) for record in reader.poll()] == [(b"next", 1)]


def test_a_line_of_10_mb_comes_in_bounded_records(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "web")
    for _ in range(160):
        writer.write(b"x" * 65536, stream="out+")
    writer.write(b"end")
    records = list(read(tmp_path))
    assert max(len(record.text) for record in records) <= 1 << 20
    assert sum(len(record.text) for record in records) == 160 * 65536 + 3
    assert [record.partial for record in records] == [True] * (len(records) - 1) + [False]


def test_an_unfinished_line_shows_after_a_while(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "web")
    writer.write(b"Password: ", stream="out+")
    slept: list[float] = []
    with Follower(tmp_path) as follower:
        record = next(follow(follower, slept.append))
    assert (record.text, record.partial) == (b"Password: ", True)
    assert 1 <= sum(slept) < 2


def test_a_tail_reads_little_of_a_large_log(tmp_path: Path) -> None:
    folder = tmp_path / "web"
    folder.mkdir()
    line = prefix(START, 1, "out") + b"x" * 100 + b"\n"
    (folder / segment_name(0)).write_bytes(line * 200_000)
    (folder / segment_name(200_000)).write_bytes(line * 200_000)
    begun = time.process_time()
    records = tail(tmp_path, lines=100)
    spent = time.process_time() - begun
    assert records[-1].sequence == 399_999
    assert spent < 0.5, f"{spent} s for the tail of 55 MB"


def test_no_folder_is_an_empty_log(tmp_path: Path) -> None:
    assert list(read(tmp_path / "none")) == []
    assert tail(tmp_path, ["none"]) == []
