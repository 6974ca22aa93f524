from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.agent import audit, durable, promise
from deploy.agent.errors import AgentError
from deploy.agent.journal import ABORTED, NEXT, ORDER, Entry, Journal, decode, encode, write_line
from deploy.agent.layout import Layout


class PowerCutError(Exception):
    """The machine is gone in the midst of a write."""


class Disk:
    """Writes lines until the power goes in the `at`-th, of which `part` is on the disk."""

    def __init__(self, at: int, part: float) -> None:
        self.left = at
        self.part = part

    def __call__(self, path: Path, offset: int, line: bytes) -> None:
        self.left -= 1
        if self.left < 0:
            write_line(path, offset, line[: int(len(line) * self.part)])
            raise PowerCutError
        write_line(path, offset, line)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def whole_deploy(journal: Journal, sequence: int = 1) -> None:
    journal.begin(sequence, sequence, "a" * 12)
    for state in ORDER[1:]:
        journal.step(state)


def test_a_whole_deploy_is_read_back_in_order(path: Path) -> None:
    whole_deploy(Journal(path))
    assert [entry.state for entry in Journal(path).entries()] == list(ORDER)
    assert Journal(path).pending() is None


def test_without_a_file_nothing_is_under_way(path: Path) -> None:
    assert Journal(path).pending() is None
    with pytest.raises(AgentError, match="nothing was staged"):
        Journal(path).step("PREPARED")


@settings(max_examples=40)
@given(at=st.integers(0, len(ORDER) - 1), part=st.floats(0, 1, exclude_max=True))
def test_a_torn_last_line_is_dropped_and_the_deploy_goes_on(
    tmp_path_factory: pytest.TempPathFactory, at: int, part: float
) -> None:
    path = tmp_path_factory.mktemp("torn") / "journal"
    journal = Journal(path, Disk(at, part))
    with pytest.raises(PowerCutError):
        whole_deploy(journal)
    again = Journal(path)
    assert [entry.state for entry in again.entries()] == list(ORDER[:at])
    if at == 0:
        again.begin(1, 1, "a" * 12)
    for state in ORDER[max(at, 1) :]:
        again.step(state)
    assert [entry.state for entry in again.entries()] == list(ORDER)
    assert path.read_bytes().count(b"\n") == len(ORDER)


@settings(max_examples=200)
@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_damage_is_an_error_that_names_the_file_or_the_end_is_dropped(
    tmp_path_factory: pytest.TempPathFactory, where: float, flip: int
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "journal"
    lines = [encode(Entry(state, 1, 1, "a" * 12, 1.5)) for state in ORDER]
    content = bytearray(b"".join(lines))
    at = int(where * len(content))
    content[at] ^= flip
    path.write_bytes(content)
    if at < len(content) - len(lines[-1]) - 1:
        with pytest.raises(AgentError, match=str(path)) as caught:
            Journal(path).entries()
        assert caught.value.exit_code == 8
        return
    # In the last line, or where it begins: it may look torn, or as two.
    try:
        states = [entry.state for entry in Journal(path).entries()]
    except AgentError as error:
        assert str(path) in error.message
    else:
        assert states in (list(ORDER[:-1]), list(ORDER[:-2]))


@given(st.binary(max_size=300))
def test_a_line_that_is_none_is_no_entry(line: bytes) -> None:
    assert decode(line) is None


@given(st.dictionaries(st.sampled_from(["state", "epoch", "crc", "x"]), st.integers() | st.text(max_size=5)))
def test_json_that_is_no_entry_is_none(fields: dict[str, object]) -> None:
    assert decode(json.dumps(fields).encode()) is None


def test_an_entry_survives_its_line() -> None:
    entry = Entry("STARTING", 3, 7, "b" * 12, 12.5, "keeper", "web.1 is gave-up: ü")
    assert decode(encode(entry).strip()) == entry


@pytest.mark.parametrize("state", [*ORDER, ABORTED])
def test_only_what_may_follow_is_written(path: Path, state: str) -> None:
    journal = Journal(path)
    write_line(path, 0, encode(Entry(state, 1, 1, "a" * 12)))
    for after in (*ORDER[1:], ABORTED):
        before = path.read_bytes()
        if after in NEXT[state]:
            journal.step(after)
        else:
            with pytest.raises(AgentError, match="cannot become"):
                journal.step(after)
            assert path.read_bytes() == before
        path.write_bytes(before)


def test_what_stands_cannot_be_given_up() -> None:
    assert [state for state in ORDER if ABORTED in NEXT[state]] == ["STAGED", "PREPARED", "COMMITTED"]


def test_a_higher_sequence_supersedes_whatever_is_under_way(path: Path) -> None:
    for state in ORDER:
        path.unlink(missing_ok=True)
        write_line(path, 0, encode(Entry(state, 1, 1, "a" * 12)))
        assert Journal(path).begin(2, 2, "b" * 12).sequence == 2


def test_a_lower_sequence_is_refused(path: Path) -> None:
    Journal(path).begin(1, 5, "a" * 12)
    for sequence, release in ((4, "a" * 12), (5, "b" * 12)):
        with pytest.raises(AgentError) as caught:
            Journal(path).begin(2, sequence, release)
        assert caught.value.exit_code == 11


def test_a_long_journal_is_begun_anew_between_two_deploys(path: Path) -> None:
    journal = Journal(path)
    for sequence in range(1, 45):
        whole_deploy(journal, sequence)
    assert path.stat().st_size < 100_000
    assert journal.last() == journal.entries()[-1]
    assert journal.entries()[-1].sequence == 44


def test_a_full_disk_is_one_line_and_leaves_the_journal_whole(small_disk: Path) -> None:
    path = small_disk / "journal"
    Journal(path).begin(1, 1, "a" * 12)
    (small_disk / "filler").write_bytes(b"x" * 4096)
    with (small_disk / "filler").open("ab") as stream, pytest.raises(OSError):
        while True:
            stream.write(b"x" * 65536)
            stream.flush()
    journal = Journal(path)
    try:
        for _ in range(100):
            journal.step("STAGED")
    except AgentError as error:
        assert "no space left" in error.message
        assert error.exit_code == 8
    assert {entry.state for entry in Journal(path).entries()} == {"STAGED"}


def layout_in(folder: Path) -> Layout:
    layout = Layout(folder)
    layout.state.mkdir()
    return layout


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from("abc")), max_size=20))
def test_a_host_never_promises_less_nor_one_epoch_to_two(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[int, str]]
) -> None:
    layout = layout_in(tmp_path_factory.mktemp("promise"))
    given_to: dict[int, str] = {}
    highest = 0
    for epoch, coordinator in asked:
        try:
            promise.promise(layout, epoch, coordinator)
        except AgentError as error:
            assert error.exit_code == 11
            assert epoch < highest or given_to[epoch] != coordinator
        else:
            assert epoch > highest or given_to[epoch] == coordinator
            given_to[epoch] = coordinator
            highest = epoch
        assert promise.promised(layout).epoch == highest


def test_each_audit_line_holds_the_hash_of_the_one_before(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    hashes = [audit.append(layout, "deployed", release=str(number)) for number in range(5)]
    assert audit.verify(layout) == {"lines": 5, "hash": hashes[-1]}
    line = audit.last_line(layout)
    assert line and (line["before"], line["hash"], line["release"]) == (hashes[-2], hashes[-1], "4")


def test_a_torn_audit_line_is_dropped_by_the_next(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    first = audit.append(layout, "deployed")
    with layout.audit_log.open("ab") as stream:
        stream.write(b'{"n":2,"event":"dep')
    assert audit.verify(layout) == {"lines": 1, "hash": first}
    audit.append(layout, "given up")
    assert audit.verify(layout)["lines"] == 2


@pytest.mark.parametrize("how", ["change", "remove", "swap"])
def test_an_audit_log_that_was_changed_is_seen(tmp_path: Path, how: str) -> None:
    layout = layout_in(tmp_path)
    for number in range(5):
        audit.append(layout, "deployed", release=str(number))
    lines = layout.audit_log.read_text().splitlines(keepends=True)
    if how == "change":
        lines[2] = lines[2].replace('"release":"2"', '"release":"7"')
    elif how == "remove":
        del lines[2]
    else:
        lines[1], lines[2] = lines[2], lines[1]
    layout.audit_log.write_text("".join(lines))
    with pytest.raises(AgentError, match="was changed") as caught:
        audit.verify(layout)
    assert caught.value.exit_code == 11


def test_a_damaged_file_of_state_is_an_error_that_names_it(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    layout.promise.write_bytes(b"\0" * 20)
    with pytest.raises(AgentError, match="promise is damaged"):
        promise.promised(layout)


def test_a_lock_is_free_again_when_its_holder_is_gone(tmp_path: Path) -> None:
    lock = durable.Lock(tmp_path / "lock")
    assert lock.acquire()
    assert durable.is_held(lock.path)
    with pytest.raises(AgentError) as caught, durable.locked(lock.path, 0.05):
        pass
    assert caught.value.exit_code == 7
    lock.release()
    with durable.locked(lock.path, 0):
        assert durable.is_held(lock.path)
    assert not durable.is_held(lock.path)
