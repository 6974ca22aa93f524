"""A request to a server that is slow, mad or hostile ends in time, in bounds, in one clear error."""

from __future__ import annotations

import socket
import time
from contextlib import suppress

import pytest
from hub_support import Speak, answer, bad_server
from support import unused_port

from keys.errors import TrustError
from keys.hubclient.transport import MAX_ANSWER, Transport
from lib.errors import AmpzeroError, UnreachableError


def says(raw: bytes) -> Speak:
    return lambda connection, _: connection.sendall(raw)


def test_a_good_answer() -> None:
    asked: list[str] = []

    def speak(connection: socket.socket, line: str) -> None:
        asked.append(line)
        connection.sendall(answer(b"{}", "429 Too Many Requests", "Retry-After: 7\r\n"))

    with bad_server(speak) as url:
        got = Transport(url + "/below/").ask("GET", "/v1/hub")
    assert asked == ["GET /below/v1/hub HTTP/1.1"]
    assert (got.status, got.body, got.kind, got.retry_after) == (429, b"{}", "text/plain", 7.0)


def drip(before: bytes, byte: bytes) -> Speak:
    def speak(connection: socket.socket, _: str) -> None:
        connection.sendall(before)
        while True:
            connection.sendall(byte)
            time.sleep(0.05)

    return speak


@pytest.mark.parametrize(
    "speak",
    [
        lambda connection, _: connection.recv(1),
        drip(b"", b"H"),
        drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", b"x"),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        drip(b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
    ],
    ids=["silent", "status", "headers", "body", "chunks", "until the end"],
)
def test_a_slow_server_has_one_deadline_for_all(speak: Speak) -> None:
    with bad_server(speak) as url:
        began = time.monotonic()
        with pytest.raises(AmpzeroError) as caught:
            Transport(url, deadline=0.8).ask("GET", "/")
    assert 0.7 < time.monotonic() - began < 60, caught.value  # the upper bound is not about speed
    assert isinstance(caught.value, UnreachableError | TrustError)


@pytest.mark.parametrize(
    "head",
    ["Content-Length: 10000000\r\n", "Transfer-Encoding: chunked\r\n", ""],
    ids=["length", "chunked", "until the end"],
)
def test_ten_megabytes_are_not_read(head: str) -> None:
    sent = [0]

    def speak(connection: socket.socket, _: str) -> None:
        connection.sendall(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode())
        piece = b"2000\r\n" + b"x" * 8192 + b"\r\n" if "chunked" in head else b"x" * 8192
        while sent[0] < 10_000_000:
            sent[0] += connection.send(piece)

    with bad_server(speak) as url, pytest.raises(TrustError, match=f"more than {MAX_ANSWER} bytes"):
        Transport(url).ask("GET", "/")
    assert sent[0] < 10_000_000


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n",
        b"garbage\r\n\r\n",
        bytes(range(256)) * 300,
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_garbage_is_one_clear_error(raw: bytes) -> None:
    with bad_server(says(raw)) as url, pytest.raises((TrustError, UnreachableError)) as caught:
        Transport(url).ask("GET", "/v1/hub")
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 200


def test_a_redirect_is_not_followed() -> None:
    with bad_server(says(answer(b"", "302 Found", "Location: http://127.0.0.1:1/\r\n"))) as url:
        assert Transport(url).ask("GET", "/").status == 302


def test_nobody_listens() -> None:
    with pytest.raises(UnreachableError, match="cannot be reached"):
        Transport(f"http://127.0.0.1:{unused_port()}").ask("GET", "/")


def test_a_server_that_resets() -> None:
    def speak(connection: socket.socket, _: str) -> None:
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with bad_server(speak) as url, pytest.raises((UnreachableError, TrustError)):
        Transport(url).ask("GET", "/")


def test_a_server_without_tls_or_with_a_strange_certificate() -> None:
    with bad_server(says(b"hello\r\n")) as url, pytest.raises(UnreachableError):
        Transport(url.replace("http:", "https:"), deadline=1).ask("GET", "/")
