"""A request over a connection to servers that behave as none should, on unix sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from lib.contact.client import LARGEST, Answer, ContactClient
from lib.contact.exchange import Exchange
from lib.errors import MissingError, NotRunningError, UnreachableError, UsageError

Speak = Callable[[socket.socket], None]


@contextmanager
def server(path: Path, speak: Speak) -> Iterator[Path]:
    """One that hands its one connection to `speak`, after the request's head."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    listener.settimeout(20)

    def serve() -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(20)
                head = b""
                while b"\r\n\r\n" not in head:
                    if not (piece := connection.recv(1)):
                        return
                    head += piece
                speak(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield path
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(60)


def get(path: Path, speak: Speak, timeout: float = 30, **more: Any) -> Answer:
    with server(path / "s", speak) as at:
        return asyncio.run(ContactClient(at).call("host-7", "/x", timeout=timeout, **more))


def sending(*pieces: bytes) -> Speak:
    def speak(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)

    return speak


def test_a_good_answer(tmp_path: Path) -> None:
    head = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 201 Created\r\nX-Word: a\r\nContent-Length: 3\r\n\r\n"
    answer = get(tmp_path, sending(head, b"ab", b"c"))
    assert (answer.status, answer.headers["x-word"], answer.body) == (201, "a", b"abc")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000,
        b"\0" * 100_000,
    ],
)
def test_answers_that_are_none(tmp_path: Path, said: bytes) -> None:
    with pytest.raises(UnreachableError):
        get(tmp_path, sending(said))


def test_one_that_says_nothing_ends_after_the_time_that_was_given(tmp_path: Path) -> None:
    def waiting(connection: socket.socket) -> None:
        connection.recv(1)  # until the client has had enough

    with pytest.raises(UnreachableError, match="did not answer within"):
        get(tmp_path, waiting, timeout=0.2)


def test_an_endless_answer_is_not_taken_into_memory(tmp_path: Path) -> None:
    def speak(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(LARGEST // 65536 + 100):
            connection.sendall(b"x" * 65536)

    with pytest.raises(UnreachableError, match="more than"):
        get(tmp_path, speak)


def test_an_error_of_the_contact_process_is_raised_here(tmp_path: Path) -> None:
    body = b'{"error": "the hub knows no host-7", "hint": "h", "exit_code": 5}'
    head = b"HTTP/1.1 404 Not Found\r\nAmpzero-Contact: 1\r\nContent-Length: %d\r\n\r\n" % len(body)
    with pytest.raises(MissingError, match="knows no host-7"):
        get(tmp_path, sending(head + body))


def test_a_refusal_that_comes_before_all_was_sent(tmp_path: Path) -> None:
    def speak(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        while connection.recv(65536):
            pass  # as nginx does it (lingering_close): who still sends would else not see the answer

    assert get(tmp_path, speak, method="POST", body=b"x" * 5_000_000).status == 413


@pytest.mark.parametrize(
    ("host", "path", "more"),
    [
        ("user-7", "/", {}), ("host-07", "/", {}), ("../x", "/", {}), ("host-7", "x", {}),
        ("host-7", "/a b", {}), ("host-7", "/a\r\nX: y", {}), ("host-7", "/ü", {}),
        ("host-7", "/", {"method": "GET /x"}), ("host-7", "/", {"headers": {"a\r\nb": "c"}}),
        ("host-7", "/", {"headers": {"a": "b\r\nc: d"}}), ("host-7", "/", {"headers": {"a": "€"}}),
    ],
)  # fmt: skip
def test_requests_that_are_none(tmp_path: Path, host: str, path: str, more: Any) -> None:
    with server(tmp_path / "s", sending(b"HTTP/1.1 200 OK\r\n\r\n")) as at, pytest.raises(UsageError):
        asyncio.run(ContactClient(at).call(host, path, **more))


def test_no_contact_process(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError):
        asyncio.run(ContactClient(tmp_path / "none").call("host-7", "/"))


def test_a_long_body_passes_through_piece_by_piece(tmp_path: Path) -> None:
    got = bytearray()

    def speak(connection: socket.socket) -> None:
        while b"0\r\n\r\n" not in got[-10:]:
            got.extend(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def body() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000

    async def work(at: Path) -> int:
        reader, writer = await asyncio.open_unix_connection(str(at))
        exchange = Exchange(reader, writer, "it", 5)
        status, _ = await exchange.ask(
            b"POST", b"/", [(b"host", b"x"), (b"transfer-encoding", b"chunked")], body()
        )
        await exchange.close()
        return status

    with server(tmp_path / "s", speak) as at:
        assert asyncio.run(work(at)) == 200
    assert got.count(b"x") == 100_000
