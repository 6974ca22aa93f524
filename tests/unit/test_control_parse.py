"""Requests to the control socket: whatever comes, it is refused in words and the next one is answered."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import zmq
import zmq.asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

import lib.control.server
from lib.control.client import AsyncControlClient
from lib.control.server import REQUEST_MAX, ControlServer, parse
from lib.errors import AmpzeroError, NotReadyError, NotRunningError, TakenError, UsageError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(body=st.binary() | st.text().map(str.encode) | JSON.map(lambda value: json.dumps(value).encode()))
def test_parse_takes_a_request_or_refuses_it(body: bytes) -> None:
    try:
        command, arguments = parse(body)
    except UsageError:
        return
    assert isinstance(command, str)
    assert isinstance(arguments, dict)


@given(command=st.text(), arguments=st.dictionaries(st.text(), JSON, max_size=4))
def test_parse_gives_back_what_was_asked(command: str, arguments: dict[str, Any]) -> None:
    body = json.dumps({"command": command, "arguments": arguments}).encode()
    found = parse(body)
    assert found[0] == command
    assert json.dumps(found[1]) == json.dumps(arguments)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"command": ' + b"9" * 5000 + b"}", b"\xff\xfe", b"", b"null"]
)
def test_parse_refuses_extremes(body: bytes) -> None:
    with pytest.raises(UsageError):
        parse(body)


async def echo(command: str, arguments: dict[str, Any]) -> Any:
    """The handler under test: echoes, fails, breaks, or takes its time."""
    if command == "refuse":
        raise NotReadyError("not now", "later")
    if command == "break":
        raise ZeroDivisionError("a mistake")
    if command == "slow":
        await asyncio.sleep(30)
    return [command, arguments]


def test_any_number_of_requests_could_be_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lib.control.server, "REQUESTS_MAX", 3)
    monkeypatch.setattr(lib.control.server, "URGENT_MAX", 1)

    async def test(folder: Path, client: AsyncControlClient) -> None:
        slow = [asyncio.create_task(client.call("slow")) for _ in range(3)]
        while True:
            try:
                await client.call("quick")
            except TakenError as error:
                assert error.message == "quick is refused: 3 requests are under way already"
                break
        assert await client.call("stop") == ["stop", {}]
        for each in slow:
            each.cancel()
        monkeypatch.setattr(lib.control.server, "REQUESTS_MAX", 4)

    serve(test)


def serve(test: Callable[[Path, AsyncControlClient], Any]) -> None:
    """Run `test` against a real server in a folder of its own."""

    async def run(folder: Path) -> None:
        server = ControlServer(folder, echo)
        client = AsyncControlClient(folder / "control.sock")
        try:
            await test(folder, client)
            assert await client.call("still", there=1) == ["still", {"there": 1}]
        finally:
            client.close()
            await server.close()
        assert list(folder.iterdir()) == []

    with TemporaryDirectory(prefix="c") as folder:
        asyncio.run(run(Path(folder)))


@settings(max_examples=25)
@given(frames=st.lists(st.lists(st.binary(max_size=300), min_size=1, max_size=5), min_size=1, max_size=10))
def test_garbage_frames_do_not_stop_the_server(frames: list[list[bytes]]) -> None:
    async def test(folder: Path, _: AsyncControlClient) -> None:
        with zmq.asyncio.Context() as context, context.socket(zmq.DEALER) as dealer:
            dealer.setsockopt(zmq.LINGER, 0)
            dealer.connect(f"ipc://{folder / 'control.sock'}")
            for message in frames:
                await dealer.send_multipart(message)
            for _each in frames:
                assert await dealer.poll(5000)
                answer = json.loads((await dealer.recv_multipart())[-1])
                assert answer["ok"] is False or answer["result"]

    serve(test)


@settings(max_examples=25)
@given(raw=st.binary(min_size=1, max_size=2000), name=st.sampled_from(["control.sock", "events.sock"]))
def test_bytes_that_are_not_zmq_do_not_stop_the_server(raw: bytes, name: str) -> None:
    async def test(folder: Path, _: AsyncControlClient) -> None:
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(folder / name))
            with suppress(OSError):
                one.sendall(raw)

    serve(test)


def test_a_request_that_is_too_large_is_not_taken_in() -> None:
    """The limit was set after the bind, where it counts for no connection."""

    async def test(folder: Path, client: AsyncControlClient) -> None:
        with pytest.raises(NotRunningError):
            await client.call("large", timeout=0.5, text="x" * (REQUEST_MAX + 1))

    serve(test)


def test_errors_travel_with_their_class() -> None:
    async def test(folder: Path, client: AsyncControlClient) -> None:
        with pytest.raises(NotReadyError) as caught:
            await client.call("refuse")
        assert (caught.value.message, caught.value.hint) == ("not now", "later")

    serve(test)


def test_a_mistake_in_a_command_is_answered(capfd: pytest.CaptureFixture[str]) -> None:
    """Nobody was answered, and the client waited for an hour."""

    async def test(folder: Path, client: AsyncControlClient) -> None:
        with pytest.raises(AmpzeroError, match="a mistake"):
            await client.call("break", timeout=30)

    serve(test)
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_slow_command_blocks_no_other() -> None:
    async def test(folder: Path, client: AsyncControlClient) -> None:
        slow = asyncio.create_task(client.call("slow", timeout=60))
        assert await client.call("quick", timeout=30) == ["quick", {}]
        assert not slow.done()
        slow.cancel()

    serve(test)


def test_the_sockets_are_private() -> None:
    async def test(folder: Path, client: AsyncControlClient) -> None:
        for name in ("control.sock", "events.sock"):
            assert not (folder / name).stat().st_mode & 0o077

    serve(test)
