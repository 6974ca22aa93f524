"""The hub's ASGI application: who may ask how often, what is asked for, and errors as answers.

Plain ASGI, because announces and look-ups are many and a framework would cost as much as they do. What the
calls do is keys/hubserver/calls.py's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from keys.errors import HeadError, QuotaError
from keys.hubserver.calls import Calls, Request
from keys.hubserver.metrics import Metrics
from keys.hubserver.rates import Limiter, Rate, network, retry_after
from keys.hubserver.replies import Reply, refusal, status_of
from keys.hubserver.source import Network, source
from lib.errors import AmpzeroError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BODY_SECONDS = 10.0
"""For a request's body to come."""
BUSY = 2.0
"""Seconds after which a client may come again that met a hub with too much to do."""


class TooLongError(Exception):
    """A body above what the call takes."""


class App:
    """One hub's server. `problem` is told, in one line, what is the hub's own fault."""

    def __init__(
        self, calls: Calls, rates: dict[str, Rate], trusted: tuple[Network, ...] = (),
        problem: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._calls, self._trusted, self._problem = calls, trusted, problem
        self.metrics: Metrics = calls.metrics
        self._limiters = {name: Limiter(rate) for name, rate in rates.items()}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        call, reply = await self._reply(scope, receive)
        self.metrics.answered(call, reply.status, time.perf_counter() - began)
        length = str(len(reply.body)).encode()
        headers = [(b"content-type", reply.kind), (b"content-length", length), *reply.headers]
        if reply.status == 413:
            headers.append((b"connection", b"close"))  # the rest of the body is not read
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else reply.body})

    async def _reply(self, scope: Message, receive: Receive) -> tuple[str, Reply]:
        call = self._calls.find(scope["method"], scope["path"])
        if call is None:
            return "none", refusal(404, "there is no such call", "docs/hub.md lists them")
        if not call.function:
            return "none", refusal(405, f"{scope['method'][:20]} is not possible here")
        asker = source(scope["client"][0] if scope["client"] else "", scope["headers"], self._trusted)
        counted = [(call.rate, network(asker.address))]
        if call.identity_rate:
            counted.append((call.identity_rate, call.id))
        for rate, key in counted:
            # Of an identity only what was signed by it is counted: anybody can write its name.
            limiter = self._limiters[rate]
            early = limiter.look(key) if rate == call.identity_rate else limiter.wait(key)
            if early:
                self.metrics.limited[rate] += 1
                return call.name, refusal(
                    429, "too many requests", f"at most {limiter.rate.count} in {limiter.rate.seconds} s",
                    retry_after(early),
                )  # fmt: skip
        try:
            body = await _body(receive, call.most) if call.most else b""
            reply = await call.function(Request(call.id, body, scope, asker))
        except TooLongError:
            return call.name, refusal(413, f"a body of more than {call.most} bytes")
        except TimeoutError:
            return call.name, refusal(408, "the body did not come in time")
        except AmpzeroError as error:
            return call.name, self._refused(error)
        if call.identity_rate:
            self._limiters[call.identity_rate].wait(call.id)
        return call.name, reply

    def _refused(self, error: AmpzeroError) -> Reply:
        status = status_of(error)
        if isinstance(error, HeadError):
            return refusal(status, error.message, error.hint, head=error.head)
        if isinstance(error, QuotaError):
            again = retry_after(error.retry_after) if error.retry_after else ""
            return refusal(429 if again else 403, error.message, error.hint, again, quota=True)
        if status >= 500:
            # Paths and what the disk says are the operator's, not the world's.
            with suppress(OSError):  # the log of the hub may be on the very disk that is full
                self._problem(error.message)
            words = "the hub cannot do this now" if status == 503 else "the hub failed"
            return refusal(status, words, retry_after=retry_after(BUSY) if status == 503 else "")
        return refusal(status, error.message, error.hint)


async def _body(receive: Receive, most: int) -> bytes:
    """The whole body of a request.

    Raises: TooLongError, TimeoutError.
    """
    body = b""
    async with asyncio.timeout(BODY_SECONDS):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise TimeoutError("the client went away")
            part: bytes = message.get("body", b"")
            body += part
            if len(body) > most:
                raise TooLongError
            if not message.get("more_body", False):
                return body
