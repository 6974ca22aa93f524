from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import StorageError
from lib.supervisor import journal, tree
from lib.supervisor.journal import Journal, Record, living, replay

RECORDS = st.builds(
    Record,
    process=st.sampled_from(["web.1", "web.2", "db.1"]),
    state=st.sampled_from(["ready", "stopped", "backoff"]),
    since=st.floats(0, 2e9),
    pid=st.integers(0, 4194304),
    started=st.integers(0, 2**60),
    spawn=st.integers(0, 9),
    restarts=st.integers(0, 9),
    reason=st.text(max_size=20),
)
GARBAGE = st.binary(max_size=40) | st.sampled_from(
    [b"{}", b"[", b'{"process":1}', b'{"process":"a.1","state":"no","since":0}']
)


def line(record: Record) -> bytes:
    return msgspec.json.encode(record) + b"\n"


def last(records: list[Record]) -> dict[str, Record]:
    return {record.process: record for record in records}


def replayed(content: bytes) -> dict[str, Record]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        path.write_bytes(content)
        return replay(path)


@given(st.lists(RECORDS, max_size=8))
def test_the_last_record_of_each_process_counts(records: list[Record]) -> None:
    assert replayed(b"".join(map(line, records))) == last(records)


@given(st.lists(RECORDS, max_size=8), RECORDS, st.data())
def test_a_torn_last_line_is_passed_over(records: list[Record], torn: Record, data: st.DataObject) -> None:
    whole = line(torn)
    cut = data.draw(st.integers(0, len(whole) - 2))
    assert replayed(b"".join(map(line, records)) + whole[:cut]) == last(records)


@given(st.lists(st.tuples(RECORDS, GARBAGE), max_size=6))
def test_garbage_between_the_lines_hides_nothing(mixed: list[tuple[Record, bytes]]) -> None:
    content = b"".join(line(record) + garbage.replace(b"\n", b"") + b"\n" for record, garbage in mixed)
    assert replayed(content) == last([record for record, _ in mixed])


@given(st.binary(max_size=400))
def test_any_bytes_are_read(content: bytes) -> None:
    replayed(content)


def test_there_is_none(tmp_path: Path) -> None:
    assert replay(tmp_path / "journal") == {}


def record(process: str = "web.1", **more: object) -> Record:
    return msgspec.structs.replace(Record(process=process, state="ready", since=1.0, pid=7), **more)


def test_it_is_there_while_it_is_open_and_private(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    one = Journal(path, {"db.1": record("db.1")})
    one.write(record())
    assert path.stat().st_mode & 0o777 == 0o600
    assert replay(path) == {"db.1": record("db.1"), "web.1": record()}
    assert not os.get_inheritable(os.open(path, os.O_RDONLY))
    one.close()
    assert list(tmp_path.iterdir()) == []


def test_what_left_the_plan_is_not_taken_back(tmp_path: Path) -> None:
    one = Journal(tmp_path / "journal", {})
    one.write(record())
    one.forget("web.1")
    one.forget("never.1")
    found = replay(tmp_path / "journal")["web.1"]
    assert (found.state, found.pid) == ("stopped", 0)
    one.close()


def test_it_is_written_anew_before_it_grows_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "COMPACT_AT", 2000)
    path = tmp_path / "journal"
    one = Journal(path, {})
    one.write(record("gone.1"))
    one.forget("gone.1")
    for count in range(500):
        one.write(record(f"web.{count % 3}", restarts=count))
        assert path.stat().st_size < 2400
        assert replay(path)[f"web.{count % 3}"].restarts == count
    assert {name: found.restarts for name, found in replay(path).items()} == {
        "web.0": 498,
        "web.1": 499,
        "web.2": 497,
    }
    one.close()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        Journal(tmp_path / "file/journal", {})


def entry(pid: int, parent: int, session: int, started: int) -> tree.Entry:
    return tree.Entry(pid, parent, session, "S", started)


def test_who_lives_is_known_by_pid_and_start_time() -> None:
    table = tree.Table((
        entry(10, 1, 10, 100), entry(11, 10, 10, 101), entry(12, 11, 12, 102),  # a child and what is below it
        entry(20, 1, 20, 999),  # a stranger that has the number of one that ended
        entry(31, 1, 30, 103),  # what is left of the session of a leader that ended
    ))  # fmt: skip
    known = [
        record(pid=10, started=100), record(pid=20, started=200), record(pid=30, started=90), record(pid=0),
        record(pid=40, started=1),
    ]  # fmt: skip
    assert living(known, table) == {10, 11, 12, 31}
