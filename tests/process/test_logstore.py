"""The log store as `ampzero serve` runs it, at a real socket, over a real folder of logs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from serve_support import Serving
from support import wait_for

from lib.loader import load_instance
from lib.logs.record import Record, prefix, segment_name, stamp
from lib.logstore.client import LogstoreClient
from lib.logstore.wire import MAX_BODY, Query, RequestError
from lib.signed import Signer

START = 1_790_000_000


class Server(Serving):
    """An instance's folder with its log store, which reads the instance's logs."""

    def __init__(self, folder: Path) -> None:
        (folder / "amprun.yaml").write_text(
            f"name: kick\namprun_root_directory: {folder}/var\nservices: {{logstore: {{}}}}\n"
        )
        instance = load_instance(str(folder))
        for private in (instance.state, instance.sockets.parent, instance.sockets):
            private.mkdir(parents=True, exist_ok=True, mode=0o700)
        super().__init__(
            folder, "logstore", instance.sockets / "logstore.sock", instance.state / "logstore.secret"
        )
        self.logs = instance.logs
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "AMPZERO_INSTANCE": "kick",
            "LOGSTORE_DATA": str(folder / "data"), "LOGSTORE_SECRET_FILE": str(self.secret_file),
            "LOGSTORE_SHIP_FROM": str(self.logs),
        }  # fmt: skip

    def client(self) -> LogstoreClient:
        return LogstoreClient(self.url, self.secret)

    def remote(self, *words: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "logstore/remote.py", *words], cwd=self.folder, capture_output=True, text=True,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)}, timeout=60, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    made.start()
    yield made
    made.kill()


class Writer:
    """Appends to one service's segments as the supervisor does."""

    def __init__(self, logs: Path, service: str) -> None:
        self.folder = logs / service
        self.folder.mkdir(parents=True, exist_ok=True)
        self.sequence = self.first = 0

    def write(self, count: int) -> None:
        lines = b"".join(
            prefix(time.time(), 1, "out") + b"line %d of a service\n" % (self.sequence + index)
            for index in range(count)
        )
        with (self.folder / segment_name(self.first)).open("ab") as segment:
            segment.write(lines)
        self.sequence += count

    def rotate(self) -> None:
        self.first = self.sequence


def records(count: int, first: int = 0) -> list[Record]:
    return [
        Record(stamp(START + number / 1000), ("web", "worker")[number % 2], number % 3,
               ("out", "err")[number % 5 == 0], number,
               b"request %d took %d ms" % (number, number * 7919 % 1000))
        for number in range(first, first + count)
    ]  # fmt: skip


def count_of(client: LogstoreClient, query: Query) -> int:
    return sum(1 for _ in client.search_all(query, 10**6))


def test_100_000_records_are_taken_and_found(server: Server) -> None:
    client, sent = server.client(), records(100_000)
    assert client.add("elsewhere", sent) == 100_000
    assert client.add("elsewhere", sent[:20_000]) == 0, "sent again, and kept once"
    for text in ("request 77777 ", "took 500 ms", "TOOK 1", "9 ms", "nothing of it"):
        page = client.search(Query(text=text, instance="elsewhere", limit=100))
        wanted = [one for one in reversed(sent) if text.lower().encode() in one.text]
        assert page.records == wanted[:100]
    narrow = Query(
        text="took 5", names=("web.1",), streams=("err",), since=stamp(START + 20), until=stamp(START + 30)
    )
    wanted = [
        one for one in reversed(sent)
        if b"took 5" in one.text and one.process == "web.1" and one.stream == "err"
        and narrow.since <= one.time < narrow.until
    ]  # fmt: skip
    assert list(client.search_all(narrow, 10**6)) == wanted
    assert wanted
    seconds, buckets = client.histogram(Query(since=stamp(START), until=stamp(START + 100), bucket=10))
    assert seconds == 10
    assert [counts for _, counts in buckets] == [{"web": 5000, "worker": 5000}] * 10


def test_kill_and_restart_lose_and_double_nothing(server: Server) -> None:
    stop = threading.Event()
    writers = [Writer(server.logs, "web"), Writer(server.logs, "worker")]

    def write() -> None:
        while not stop.wait(0.01):
            for writer in writers:
                writer.write(50)
                if writer.sequence % 1000 == 0:
                    writer.rotate()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for kill in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
            reached = writers[0].sequence + 1000
            assert wait_for(lambda reached=reached: writers[0].sequence > reached)  # type: ignore[misc]
            assert server.end(kill) in (0, -signal.SIGKILL)
            server.start()
    finally:
        stop.set()
        thread.join()
    client = server.client()
    for writer in writers:
        query = Query(names=(writer.folder.name,), instance="kick")
        last = b"line %d of a service" % (writer.sequence - 1)
        assert wait_for(lambda query=query, last=last: (  # type: ignore[misc]
            [one.text for one in client.search(replace(query, limit=1)).records] == [last]))  # fmt: skip
        kept = [(one.sequence, one.text) for one in client.search_all(query, 10**6)]
        assert kept == [(n, b"line %d of a service" % n) for n in range(writer.sequence - 1, -1, -1)]
    assert server.log == ""


def test_its_own_log_makes_no_loop(server: Server) -> None:
    own = Writer(server.logs, "logstore")
    own.write(3)
    client = server.client()
    assert wait_for(lambda: count_of(client, Query(names=("logstore",))) == 3)
    assert server.log == "", "taking records writes nothing"


def test_bad_requests_get_clear_errors(server: Server) -> None:
    def asked(method: str, target: str, body: bytes = b"", **headers: str) -> tuple[int, str]:
        response = server.raw(method, target, body, **headers)
        answer = json.loads(response.body)
        assert set(answer) == {"error", "hint"}
        return response.status, answer["error"]

    assert asked("GET", "/v1/records", Authorization="")[0] == 401
    assert asked("GET", "/v1/records", Authorization="AMPZERO-HMAC-SHA256 key=x")[0] == 401
    assert asked("POST", "/v1/records", b"{")[0] == 400
    assert asked("POST", "/v1/records", b'{"instance": "kick", "records": [1]}') == (
        400,
        "records[0]: not an object",
    )
    assert asked("POST", "/v1/records", b" " * (MAX_BODY + 1))[0] == 413
    assert asked("GET", "/v1/records?limit=0") == (400, "limit: not a whole number from 1 to 1000")
    assert asked("GET", "/v1/records?who=me") == (400, "unknown parameter 'who'")
    assert asked("GET", "/v1/none")[0] == 404
    assert asked("DELETE", "/v1/records")[0] == 405
    with pytest.raises(RequestError, match="not a time"):
        server.client().search(Query(since="yesterday"))
    assert server.raw("GET", "/").status == 200
    assert server.log == ""


def test_a_request_cannot_be_sent_twice(server: Server) -> None:
    header = Signer("instance", server.secret).header("GET", "/v1/sources")
    assert server.raw("GET", "/v1/sources", Authorization=header).status == 200
    assert server.raw("GET", "/v1/sources", Authorization=header).status == 401
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    server.start()
    assert server.raw("GET", "/v1/sources", Authorization=header).status == 401


def test_the_remote_searches_and_follows(server: Server) -> None:
    writer = Writer(server.logs, "web")
    writer.write(30)
    assert wait_for(lambda: server.remote("sources")[1] == "kick web\n")
    code, out, err = server.remote("search", "LINE 2", "--service", "web", "--since", "1h")
    assert (code, err) == (0, "")
    assert [line.split(" | ")[1].split(" of")[0] for line in out.splitlines()] == [
        "line 2", *(f"line {number}" for number in range(20, 30))
    ]  # fmt: skip
    code, out, _ = server.remote("histogram", "--since", "1h")
    assert sum(json.loads(line)["counts"]["web"] for line in out.splitlines()) == 30
    assert server.remote("search", "--since", "soon")[0] == 2
    tail = subprocess.Popen(
        [sys.executable, "logstore/remote.py", "tail", "--json"], cwd=server.folder, stdout=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "HOME": str(server.folder)},
    )  # fmt: skip
    try:
        assert tail.stdout is not None
        first = [json.loads(tail.stdout.readline())["sequence"] for _ in range(10)]
        assert first == list(range(20, 30))
        writer.write(2)
        assert [json.loads(tail.stdout.readline())["sequence"] for _ in range(2)] == [30, 31]
        tail.send_signal(signal.SIGINT)
        assert tail.wait(60) == 130
    finally:
        tail.kill()
        tail.wait()
        if tail.stdout is not None:
            tail.stdout.close()


def test_at_rest_it_costs_next_to_nothing(server: Server) -> None:
    for service in ("web", "worker", "redis", "nginx", "keyspace"):
        Writer(server.logs, service).write(10)
    client = server.client()
    assert wait_for(lambda: count_of(client, Query()) == 50)
    assert server.process is not None
    stat = Path(f"/proc/{server.process.pid}/stat")

    def ticks() -> int:
        fields = stat.read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def rests() -> bool:
        # Time itself is what is measured here, so this waits for nothing else.
        begun = ticks()
        time.sleep(4)
        return ticks() - begun <= 8

    assert wait_for(rests), (
        "at most 2 % of a core, once it has come to rest; hundredths of seconds are coarse"
    )
