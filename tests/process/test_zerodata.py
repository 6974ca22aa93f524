"""The record store as `ampzero serve` runs it, at a real socket."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serve_support import Serving
from support import wait_for

from lib.errors import AmpzeroError, StorageError
from lib.signed import Response, Signer
from lib.zerodata.client import ZerodataClient
from lib.zerodata.record import ConflictError, Delete, Put, RequestError


class Server(Serving):
    """An instance's folder with its record store."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "zerodata", folder / "z.sock", folder / "secret")
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "ZERODATA_URL": self.url,
            "ZERODATA_SECRET_FILE": str(self.secret_file), "ZERODATA_DATA": str(folder / "data"),
        }  # fmt: skip

    def client(self) -> ZerodataClient:
        return ZerodataClient(self.url, self.secret)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    made.start()
    yield made
    made.kill()


def error_of(response: Response) -> tuple[int, str]:
    answer = json.loads(response.body)
    assert set(answer) == {"error", "hint"}
    return response.status, answer["error"]


def test_records_come_back(server: Server) -> None:
    client = server.client()
    value = {
        "a": 1,
        "text": "ä€\U0001f600'\"\\",
        "list": [1, None, {"x": True}],
        "float": 0.1,
        "big": 2**63 - 1,
    }
    ids = ["1", "a/b", "../x", "ä€?#%&=+ ", "..", "x" * 500, "%2F", "//"]
    for id in ids:
        assert client.get("task", id) is None
        version = client.put("task", id, value, version=0)
        record = client.get("task", id)
        assert record is not None
        assert (record.kind, record.id, record.version, record.value) == ("task", id, version, value)
    assert [record.id for record in client.query("task", page=2)] == sorted(ids)
    assert [record.id for record in client.query("task", limit=3, page=2)] == sorted(ids)[:3]
    for id in ids:
        assert client.delete("task", id)
        assert not client.delete("task", id)
    assert list(client.query("task")) == []


def test_queries_and_batches(server: Server) -> None:
    client = server.client()
    client.batch(
        [Put("task", str(n), {"n": n, "even": n % 2 == 0, "in": {"name": f"t{n}"}}) for n in range(20)]
    )
    found = client.query("task", [["even", "=", True], ["n", ">", 4]], ["-n"], limit=5, page=2)
    assert [record.value["n"] for record in found] == [18, 16, 14, 12, 10]
    assert [r.id for r in client.query("task", [["in.name", "prefix", "t1"]], ["n"])] == [
        "1",
        *map(str, range(10, 20)),
    ]
    with pytest.raises(ConflictError, match="does not exist"):
        client.batch([Delete("task", "1"), Put("task", "x", {}, version=99)])
    assert client.get("task", "1") is not None
    assert client.batch([Delete("task", "1"), Delete("task", "1")]) == [1, 0]
    with pytest.raises(RequestError, match="not an operator"):
        list(client.query("task", [["a", "~", 1]]))


def test_what_is_not_signed_right_is_refused(server: Server) -> None:
    assert error_of(server.raw("GET", "/v1/records/a/b", Authorization=""))[0] == 401
    for client in (ZerodataClient(server.url, b"0" * 64), ZerodataClient(server.url, server.secret, "other")):
        with pytest.raises(AmpzeroError, match="signature is wrong"):
            client.put("a", "b", {})
    late = Signer("instance", server.secret, lambda: time.time() - 400).header("GET", "/v1/records/a/b")
    assert error_of(server.raw("GET", "/v1/records/a/b", Authorization=late))[0] == 401
    target = Signer("instance", server.secret).header("GET", "/v1/records/a/c")
    answer = server.raw("GET", "/v1/records/a/b", Authorization=target)
    assert answer.headers["www-authenticate"] == "AMPZERO-HMAC-SHA256"
    assert server.raw("GET", "/healthz", Authorization="").status == 200
    assert server.secret.decode() not in server.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_replay_is_refused_also_after_a_restart(server: Server, number: int) -> None:
    sent = Signer("instance", server.secret).header("PUT", "/v1/records/a/b", b"{}")
    assert server.raw("PUT", "/v1/records/a/b", b"{}", Authorization=sent).status == 200
    assert error_of(server.raw("PUT", "/v1/records/a/b", b"{}", Authorization=sent)) == (
        401, "the request was received before",
    )  # fmt: skip
    server.end(number)
    server.start()
    assert error_of(server.raw("PUT", "/v1/records/a/b", b"{}", Authorization=sent))[0] == 401
    record = server.client().get("a", "b")
    assert record is not None and record.version == 1


@pytest.mark.parametrize(
    ("method", "target", "body", "status"),
    [
        ("GET", "/", b"", 404),
        ("GET", "/v1/records/a", b"", 404),
        ("GET", "/v1/records/a/", b"", 400),
        ("GET", "/v1/records/a/none", b"", 404),
        ("GET", "/v1/records/a/b?x=1", b"", 400),
        ("GET", "/v1/records/a/%ff", b"", 400),
        ("GET", "/v1/records/a/%00", b"", 400),
        ("GET", "/v1/records/a%2Fb/c", b"", 400),
        ("POST", "/v1/records/a/b", b"", 405),
        ("PUT", "/v1/records/a/b", b"", 400),
        ("PUT", "/v1/records/a/b", b"[]", 400),
        ("PUT", "/v1/records/a/b", b"[" * 500_000, 400),
        ("PUT", "/v1/records/a/b", b'{"a":NaN}', 400),
        ("PUT", "/v1/records/a/b", b" " * (1024 * 1024 + 1), 413),
        ("PUT", "/v1/records/a/b?version=-1", b"{}", 400),
        ("PUT", "/v1/records/a/b?version=" + "9" * 30, b"{}", 400),
        ("PUT", "/v1/records/a/b?version=1&version=1", b"{}", 400),
        ("PUT", "/v1/records/a/b?version=7", b"{}", 409),
        ("DELETE", "/v1/records/a/b?version=0", b"", 400),
        ("POST", "/v1/query", b"{}", 400),
        ("POST", "/v1/query", b'{"kind":"a","cursor":"x"}', 400),
        ("POST", "/v1/batch", b'{"operations":[]}', 400),
        ("POST", "/v1/batch", b'{"operations":[{"operation":"put","kind":"a","id":"b"}]}', 400),
        ("POST", "/v1/batch", b'{"operations":[1]}', 400),
        ("POST", "/v1/batch", b'{"operations":[{"operation":"delete","kind":["a"],"id":{}}]}', 400),
    ],
)
def test_bad_requests_have_clear_answers(
    server: Server, method: str, target: str, body: bytes, status: int
) -> None:
    answer = error_of(server.raw(method, target, body))
    assert answer[0] == status, answer
    assert answer[1] and "Traceback" not in answer[1]
    assert "Traceback" not in server.log


def test_no_put_that_was_answered_is_lost_by_a_kill(server: Server) -> None:
    answered: list[tuple[str, int]] = []
    stop = threading.Event()

    def write(number: int) -> None:
        client, step = server.client(), 0
        while not stop.is_set():
            try:
                answered.append((f"{number}-{step}", client.put("k", f"{number}-{step}", {"n": step})))
            except AmpzeroError:
                return
            step += 1

    for turn in range(3):
        writers = [threading.Thread(target=write, args=(turn * 10 + number,)) for number in range(4)]
        for writer in writers:
            writer.start()
        goal = len(answered) + 200
        assert wait_for(lambda goal=goal: len(answered) >= goal)  # type: ignore[misc]  # a default
        server.end(signal.SIGKILL)
        stop.set()
        for writer in writers:
            writer.join()
        stop.clear()
        server.start()
        kept = {record.id: record.version for record in server.client().query("k", page=1000)}
        assert [one for one in answered if kept.get(one[0]) != one[1]] == []


@pytest.mark.slow
def test_fifty_writers_at_once(server: Server) -> None:
    failures: list[Exception] = []

    def write(number: int) -> None:
        try:
            client = server.client()
            for step in range(10):
                client.put("k", f"{number}-{step}", {"n": number})
            done = 0
            while done < 3:
                record = client.get("k", "sum")
                value = record.value["n"] if record else 0
                try:
                    client.put("k", "sum", {"n": value + 1}, version=record.version if record else 0)
                    done += 1
                except ConflictError:
                    pass
            client.close()
        except AmpzeroError as error:
            failures.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(50)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failures == []
    client = server.client()
    assert len(list(client.query("k", page=1000))) == 501
    record = client.get("k", "sum")
    assert record is not None and record.value == {"n": 150}
    assert server.end(signal.SIGTERM) == 0
    assert server.log == ""


def test_a_client_whose_server_was_restarted_goes_on(server: Server) -> None:
    client = server.client()
    client.put("a", "b", {})
    server.end(signal.SIGTERM)
    server.start()
    assert client.get("a", "b") is not None


def test_settings_that_are_missing_or_wrong(server: Server) -> None:
    server.end(signal.SIGTERM)

    def start(**changed: str) -> Any:
        return subprocess.run(
            server.argv,
            cwd=server.folder,
            env={**server.environment, **changed},
            capture_output=True,
            timeout=60,
        )

    for changed, code, says in (
        ({"ZERODATA_DATA": ""}, 4, b"ZERODATA_DATA is not set"),
        ({"ZERODATA_SECRET_FILE": ""}, 4, b"ZERODATA_SECRET_FILE is not set"),
        ({"ZERODATA_SECRET_FILE": "/none"}, 5, b"cannot read the secret"),
        ({"ZERODATA_DATA": "/dev/null/x"}, 8, b"cannot make"),
    ):
        ended = start(**changed)
        assert (ended.returncode, says in ended.stderr) == (code, True), ended.stderr
        assert b"Traceback" not in ended.stderr
    (server.folder / "zerodata" / "index.yaml").write_text("indexes: [{kind: a}]\n")
    ended = start()
    assert ended.returncode == 4
    assert b"index.yaml: indexes[0]: its keys are" in ended.stderr
    (server.folder / "data" / "records.sqlite").write_bytes(b"no database at all" * 1000)
    (server.folder / "zerodata" / "index.yaml").write_text("indexes: []\n")
    ended = start()
    assert ended.returncode == 8
    assert b"records.sqlite: file is not a database" in ended.stderr


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_disk_is_said_and_passes(server: Server) -> None:
    server.end(signal.SIGTERM)
    disk = server.folder / "data"
    shutil.rmtree(disk)
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount: {mounted.stderr.decode()}")
    try:
        server.start()
        client = server.client()
        client.put("k", "first", {"a": 1})
        kept = 0
        with pytest.raises(StorageError, match="no room left"):
            for kept in range(1000):
                client.put("k", f"n{kept}", {"a": "x" * 20_000})
        assert kept > 5
        refused = error_of(server.raw("PUT", "/v1/records/k/more", b'{"a":"%s"}' % (b"x" * 100_000)))
        assert refused[0] == 507
        assert server.raw("GET", "/healthz", Authorization="").status == 200
        # Reading may be refused as well, since its nonce must be kept: what it may not be is another error.
        assert server.raw("GET", "/v1/records/k/first").status in (200, 507)
        subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
        client.put("k", "again", {"a": 2})
        assert len(list(client.query("k", page=10))) == kept + 2
        assert server.end(signal.SIGTERM) == 0
    finally:
        if server.process is not None and server.process.poll() is None:
            server.end(signal.SIGKILL)
        subprocess.run(["umount", disk], check=True)
