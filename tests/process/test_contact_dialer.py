"""Connections to other instances, to real TLS servers of the loopback: whose key is there, and where next."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from contact_support import Clock, Party, local_hub, make_party
from support import unused_port

from keys.contact.dialer import dial
from keys.contact.resolver import Peer, Resolver
from keys.hub import LocalHub
from lib.errors import RefusedError, UnreachableError


@pytest.fixture
def hub(tmp_path: Path) -> LocalHub:
    return local_hub(tmp_path, Clock())


@pytest.fixture
def us(tmp_path: Path, hub: LocalHub) -> Party:
    return make_party(tmp_path, hub, Clock(), "us")


@pytest.fixture
def them(tmp_path: Path, hub: LocalHub) -> Party:
    return make_party(tmp_path, hub, Clock(), "them")


def peer_of(party: Party, hub: LocalHub) -> Peer:
    party.announcer(hub).step()
    return Resolver(lambda: hub).peer(party.id)


class Server:
    """A TLS server with a party's leaf; `got` is what was sent to it, `shown` the client's certificates."""

    def __init__(self, party: Party) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*party.own.leaf())
        self.got = b""
        self.address = ""
        self.connections = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            try:
                while piece := await reader.read(1000):
                    self.got += piece
                    writer.write(b"answer")
            except OSError:
                pass
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=self.context)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """An address that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def nobody() -> str:
    """An address where nobody listens."""
    return f"127.0.0.1:{unused_port()}"


async def talks(peer: Peer, addresses: list[str], us: Party) -> bytes:
    reader, writer = await dial(peer, addresses, us.own.tls())
    writer.write(b"hello")
    answer = await reader.readexactly(6)
    writer.transport.abort()
    return answer


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await work()

    asyncio.run(bounded())


def test_the_announced_key_is_talked_to(us: Party, them: Party, hub: LocalHub) -> None:
    async def work() -> None:
        async with Server(them).running() as server:
            assert await talks(peer_of(them, hub), [server.address], us) == b"answer"
            assert server.got == b"hello"

    run(work)


def test_where_another_key_is_not_a_byte_is_sent(us: Party, them: Party, hub: LocalHub) -> None:
    async def work() -> None:
        async with Server(us).running() as server:
            with pytest.raises(RefusedError, match=f"another key than {them.id} announced"):
                await talks(peer_of(them, hub), [server.address], us)
            assert (server.got, server.connections) == (b"", 1)

    run(work)


def test_an_address_that_does_not_answer_falls_back_to_the_next(
    us: Party, them: Party, hub: LocalHub
) -> None:
    async def work() -> None:
        peer = peer_of(them, hub)
        async with Server(them).running() as server, Server(us).running() as impostor, silent() as mute:
            for before in (nobody(), mute, impostor.address):
                assert await talks(peer, [before, server.address], us) == b"answer"
            assert await talks(peer, [nobody(), mute, impostor.address, server.address], us) == b"answer"
            assert impostor.got == b""

    run(work)


def test_all_that_was_tried_is_named(us: Party, them: Party, hub: LocalHub) -> None:
    async def work() -> None:
        peer, first, second = peer_of(them, hub), nobody(), nobody()
        with pytest.raises(UnreachableError) as caught:
            await talks(peer, [first, second], us)
        assert first in caught.value.message and second in caught.value.message
        with pytest.raises(UnreachableError, match="announces no address"):
            await talks(peer, [], us)

    run(work)


def test_a_server_that_is_none_of_ours(us: Party, them: Party, hub: LocalHub) -> None:
    async def work() -> None:
        async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-OpenSSH_9.2\r\n" * 10)
            writer.close()

        server = await asyncio.start_server(plain, "127.0.0.1", 0)
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(UnreachableError):
            await talks(peer_of(them, hub), [address], us)
        server.close()

    run(work)


def test_connections_that_were_not_needed_are_closed(us: Party, them: Party, hub: LocalHub) -> None:
    async def work() -> None:
        peer = peer_of(them, hub)
        async with Server(them).running() as one, Server(them).running() as other:
            before = len(asyncio.all_tasks())
            for _ in range(10):
                assert await talks(peer, [one.address, other.address], us) == b"answer"
            assert one.connections == 10 and other.got == b""
            while len(asyncio.all_tasks()) > before:  # `run` has a deadline
                await asyncio.sleep(0.02)

    run(work)
