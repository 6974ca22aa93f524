"""Outgoing calls: /call/host-7/PATH on the contact socket goes to that instance, and its answer comes back.

Nothing is kept in memory: bodies pass through piece by piece.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from starlette.types import Receive, Scope, Send

from keys.contact.aside import Aside
from keys.contact.dialer import Connection, dial
from keys.contact.own import Own
from keys.contact.resolver import RETRY, Peer, Resolver
from keys.errors import TrustError
from lib.contact import client, token
from lib.contact.exchange import ENDED_BY_US, Exchange, Headers
from lib.errors import AmpzeroError, MissingError, RefusedError, StorageError, UnreachableError

REST = 2.0
"""Seconds for the rest of a request that is answered with an error."""
TIMEOUT, LONGEST = 30.0, 600.0
"""Seconds for each step of a call: where the caller says nothing, and at most."""
STATUS: dict[type[AmpzeroError], int] = {
    MissingError: 404, RefusedError: 403, TrustError: 403, UnreachableError: 502, StorageError: 507,
}  # fmt: skip
OWN_HEADERS = {b"host", client.TIMEOUT.encode(), token.FROM.lower().encode(), token.HEADER.lower().encode()}


class Calls:
    """An ASGI application. `dialled` picks those of a peer's addresses that may be dialled from here."""

    def __init__(
        self, own: Own, resolver: Resolver, aside: Aside, dialled: Callable[[Peer], list[str]]
    ) -> None:
        self._own, self._resolver, self._aside, self._dialled = own, resolver, aside, dialled

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry one call."""
        begun, body = False, _Body(receive)
        try:
            exchange, status, headers = await self._ask(scope, body)
            try:
                if reason := _refusal(status, headers):
                    host = _target(scope)[0]
                    raise RefusedError(
                        f"{host} refused the call: {reason}", "see its ampzero status, and yours"
                    )
                begun = True
                await send({"type": "http.response.start", "status": status, "headers": headers})
                async for piece in exchange.pieces():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            finally:
                await exchange.close()
        except AmpzeroError as error:
            if begun:
                raise  # half an answer is out: the server breaks the connection off
            await body.drop()
            await _say(send, error)

    async def _ask(self, scope: Scope, body: _Body) -> tuple[Exchange, int, Headers]:
        host, target = _target(scope)
        timeout = _timeout(scope)
        us, context = await self._aside.run(lambda: (self._own.identities().host_id, self._own.tls()))
        peer = await self._aside.run(lambda: self._resolver.peer(host))
        reader, writer = await self._dial(peer, context)
        exchange = Exchange(reader, writer, host, timeout)
        given = [(name, value) for name, value in scope["headers"] if name not in OWN_HEADERS | ENDED_BY_US]
        sent: Headers = [(b"host", host.encode()), (token.FROM.encode(), us.encode()), *given]
        if (b"transfer-encoding", b"chunked") in scope["headers"]:
            sent.append((b"transfer-encoding", b"chunked"))
        try:
            status, headers = await exchange.ask(scope["method"].encode(), target, sent, body.pieces())
        except ValueError as error:
            await exchange.close()
            raise RefusedError(str(error)) from error
        except BaseException:
            writer.transport.abort()
            raise
        return exchange, status, headers

    async def _dial(self, peer: Peer, context: ssl.SSLContext) -> Connection:
        """A connection; where there is none the hub is asked again, as it may have moved."""
        try:
            return await dial(peer, self._dialled(peer), context)
        except (UnreachableError, RefusedError):
            again = await self._aside.run(lambda: self._resolver.peer(peer.who.id, newer_than=RETRY))
            if again.said == peer.said:
                raise
            return await dial(again, self._dialled(again), context)


def _target(scope: Scope) -> tuple[str, bytes]:
    """The host, and the path with the query as it was sent."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    host, slash, path = raw.removeprefix(b"/call/").partition(b"/")
    query: bytes = scope.get("query_string", b"")
    return host.decode("ascii", "replace"), slash + path + (b"?" + query if query else b"") or b"/"


def _timeout(scope: Scope) -> float:
    given = dict(scope["headers"]).get(client.TIMEOUT.encode(), b"")
    try:
        wanted = float(given) if given else TIMEOUT
    except ValueError:
        return TIMEOUT
    return min(wanted, LONGEST) if wanted > 0 else TIMEOUT


class _Body:
    """The body of the request that is carried."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self._over = receive, False

    async def pieces(self) -> AsyncIterator[bytes]:
        """What comes, until its end.

        Raises: UnreachableError when the caller has gone.
        """
        while not self._over:
            message = await self._receive()
            if message["type"] != "http.request":
                self._over = True
                raise UnreachableError("the caller went away")
            self._over = not message.get("more_body")
            if message.get("body"):
                yield message["body"]

    async def drop(self) -> None:
        """Read what is on its way: who sends a long body would see no answer that comes before its end."""
        with suppress(TimeoutError, AmpzeroError):
            async with asyncio.timeout(REST):
                async for _ in self.pieces():
                    pass


def _refusal(status: int, headers: Headers) -> str:
    """Why the other side's gate refused; empty where its application answered."""
    said = dict(headers).get(token.REFUSED.lower().encode(), b"") if status in (403, 500, 503) else b""
    text = said.decode("ascii", "replace")[:300]
    return "".join(char if char.isprintable() else " " for char in text)


async def _say(send: Send, error: AmpzeroError) -> None:
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    body = json.dumps(
        {"error": error.message, "hint": error.hint, "exit_code": error.exit_code}, ensure_ascii=False
    ).encode()
    headers = [
        (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()),
        (client.ERROR.encode(), b"1"),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
