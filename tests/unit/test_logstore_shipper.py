from __future__ import annotations

import json
import random
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from support import wait_for

from lib.errors import StorageError
from lib.logs.record import Record, prefix, segment_name
from lib.logstore.shipper import Shipper
from lib.logstore.store import Store
from lib.logstore.wire import MAX_BATCH, Query

START = 1_790_000_000.0


class Sink:
    """An honest sink in memory: keeps a record once, and can be told to fail."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str, int, str], Record] = {}
        self.sent = 0
        self.failing = False

    def add(self, instance: str, records: Sequence[Record]) -> int:
        if self.failing:
            raise StorageError("the disk is full")
        assert len(records) <= MAX_BATCH
        self.sent += len(records)
        before = len(self.kept)
        for record in records:
            self.kept.setdefault((instance, record.service, record.sequence, record.time), record)
        return len(self.kept) - before

    def texts(self, service: str = "web") -> list[bytes]:
        found = sorted((key[2], record.text) for key, record in self.kept.items() if key[1] == service)
        return [text for _, text in found]


class Log:
    """One service's segments, written by hand."""

    def __init__(self, logs: Path, service: str = "web") -> None:
        self.folder = logs / service
        self.folder.mkdir(parents=True, exist_ok=True)
        self.first = self.sequence = 0

    def write(self, *texts: bytes, number: int = 1, stream: str = "out") -> None:
        with (self.folder / segment_name(self.first)).open("ab") as segment:
            for text in texts:
                segment.write(prefix(START + self.sequence / 1000, number, stream) + text + b"\n")
                self.sequence += 1

    def rotate(self, keep: int = 100) -> None:
        self.first = self.sequence
        for old in sorted(self.folder.iterdir())[:-keep]:
            old.unlink()


def make(tmp_path: Path, sink: Sink | Store, said: list[str] | None = None) -> Shipper:
    say = (lambda _: None) if said is None else said.append
    return Shipper("kickass", tmp_path / "logs", tmp_path / "shipped.json", sink, say)


def ship(shipper: Shipper) -> int:
    total = 0
    while shipped := shipper.step():
        total += shipped
    return total


def test_nothing_is_lost_or_doubled_by_restarts_and_rotation(tmp_path: Path) -> None:
    chance = random.Random(4)
    log, sink = Log(tmp_path / "logs"), Sink()
    written: list[bytes] = []
    for _ in range(60):
        shipper = make(tmp_path, sink)
        for _ in range(chance.randint(0, 3)):
            texts = [b"%d" % (len(written) + index) for index in range(chance.randint(0, 40))]
            log.write(*texts)
            written += texts
            if chance.random() < 0.3:
                log.rotate()
            if chance.random() < 0.7:
                shipper.step()
        shipper.close()  # a SIGKILL does no less: what was not confirmed was not remembered
    ship(make(tmp_path, sink))
    assert sink.texts() == written
    assert sink.sent == len(written), "after an orderly course nothing is sent twice"


def test_a_kill_between_sending_and_remembering_doubles_nothing(tmp_path: Path) -> None:
    log = Log(tmp_path / "logs")
    store = Store(tmp_path / "logs.sqlite")
    log.write(*[b"%d" % index for index in range(100)])
    ship(make(tmp_path, store))
    (tmp_path / "shipped.json").unlink()
    log.write(b"100")
    assert ship(make(tmp_path, store)) == 101
    assert [one.text for _, one in store.search(Query(limit=1000)).records] == [
        b"%d" % n for n in range(100, -1, -1)
    ]


def test_what_the_sink_refuses_comes_again(tmp_path: Path) -> None:
    log, sink, said = Log(tmp_path / "logs"), Sink(), list[str]()
    shipper = make(tmp_path, sink, said)
    log.write(b"one")
    sink.failing = True
    for _ in range(3):
        with pytest.raises(StorageError):
            shipper.step()
    log.write(b"two")
    sink.failing = False
    ship(shipper)
    assert sink.texts() == [b"one", b"two"]


def test_failures_are_said_once_in_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.logstore.shipper.RETRY", (0.005, 0.01))
    monkeypatch.setattr("lib.logstore.shipper.INTERVALS", (0.005, 0.01))
    log, sink, said = Log(tmp_path / "logs"), Sink(), list[str]()
    sink.failing = True
    log.write(b"one")
    shipper, stop = make(tmp_path, sink, said), threading.Event()
    thread = threading.Thread(target=shipper.run, args=(stop,))
    thread.start()
    try:
        assert wait_for(lambda: shipper.failure)
        log.write(b"two")
        sink.failing = False
        assert wait_for(lambda: sink.texts() == [b"one", b"two"])
        assert wait_for(lambda: not shipper.failure)
        log.write(b"the last")
    finally:
        stop.set()
        thread.join(60)
    assert said == ["log records wait: the disk is full"]
    assert sink.texts()[-1] == b"the last", "what is there at the end is shipped"


def test_deleted_lines_are_reported(tmp_path: Path) -> None:
    log, sink, said = Log(tmp_path / "logs"), Sink(), list[str]()
    shipper = make(tmp_path, sink, said)
    log.write(b"0")
    ship(shipper)
    for _ in range(4):
        log.rotate(keep=2)
        log.write(*[b"x"] * 5)
    shipper.close()
    again = make(tmp_path, sink, said)
    ship(again)
    assert again.gaps == {"web": 5}
    assert said == ["5 lines of web were deleted before they could be kept"]


def test_logs_begun_anew_are_shipped_from_their_beginning(tmp_path: Path) -> None:
    log, sink = Log(tmp_path / "logs"), Sink()
    log.write(b"a", b"b", b"c")
    shipper = make(tmp_path, sink)
    ship(shipper)
    shutil.rmtree(log.folder)
    anew = Log(tmp_path / "logs")
    anew.write(b"d", number=2)
    ship(shipper)
    shipper.close()
    assert [record.text for record in sink.kept.values()] == [b"a", b"b", b"c", b"d"] or len(sink.kept) == 3
    anew.write(b"e", b"f", b"g", b"h")
    ship(make(tmp_path, sink))
    assert sink.texts()[-1] == b"h"


def test_long_lines_cross_a_restart_whole(tmp_path: Path) -> None:
    log, sink = Log(tmp_path / "logs"), Sink()
    log.write(b"long ", stream="out+")
    log.write(b"other", number=2)
    ship(make(tmp_path, sink))
    log.write(b"and longer ", stream="out+")
    log.write(b"other again", number=2)
    ship(make(tmp_path, sink))
    log.write(b"end")
    ship(make(tmp_path, sink))
    assert sink.texts() == [b"other", b"other again", b"long and longer end"]
    assert sink.sent == 3


def test_garbage_is_shipped_and_stops_nothing(tmp_path: Path) -> None:
    log, store = Log(tmp_path / "logs"), Store(tmp_path / "logs.sqlite")
    (tmp_path / "logs" / "-bad name").mkdir()
    (tmp_path / "shipped.json").write_text(json.dumps({"services": {"web": {"segment": "x"}}}))
    with (log.folder / segment_name(0)).open("wb") as segment:
        segment.write(b"\x00\x00garbage\n2026-99-99T99:99:99.999999Z 1 out of no day\n")
        segment.write(b"2026-11-2xT21:05:35.123456Z 1 out -\n")
        log.sequence = 3
    log.write(b"good")
    assert ship(make(tmp_path, store)) == 4
    assert len(store.search(Query()).records) == 4
