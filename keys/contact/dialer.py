"""Connections to other instances: mutual TLS, and the other side's key is looked at before a byte is sent.

Of several addresses the next one is tried when the one before has failed, or says nothing for a moment (as
RFC 8305 does it); the first that shows the announced key wins.
"""

from __future__ import annotations

import asyncio
import hmac
import ssl
from collections.abc import Iterable, Sequence

from keys.announcement import parse_address
from keys.contact.resolver import Peer
from keys.errors import TrustError
from keys.tls.certificate import key_digest
from lib.errors import AmpzeroError, RefusedError, UnreachableError

STAGGER = 0.3
"""Seconds after which the next address is tried beside the one that says nothing."""
CONNECT = 5.0
"""Seconds for one address: connection and TLS."""
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def dial(peer: Peer, addresses: Sequence[str], context: ssl.SSLContext) -> Connection:
    """A connection to `peer` at the first of `addresses` where its key is.

    Raises: UnreachableError where none answers; RefusedError where another key is.
    """
    left = list(addresses)
    pending: set[asyncio.Task[Connection]] = set()
    problems: list[AmpzeroError] = []
    try:
        while left or pending:
            if left:
                pending.add(asyncio.create_task(_connect(peer, left.pop(0), context)))
            done, pending = await asyncio.wait(
                pending, timeout=STAGGER if left else None, return_when=asyncio.FIRST_COMPLETED
            )
            good = [task.result() for task in done if task.exception() is None]
            problems += [error for task in done if isinstance(error := task.exception(), AmpzeroError)]
            _close(good[1:])
            if good:
                return good[0]
    finally:
        for task in pending:
            task.cancel()
        late = await asyncio.gather(*pending, return_exceptions=True)
        _close(connection for connection in late if not isinstance(connection, BaseException))
    raise _worst(peer, problems)


async def _connect(peer: Peer, address: str, context: ssl.SSLContext) -> Connection:
    """A connection to one address, when its key is the announced one."""
    host, port = parse_address(address)
    try:
        async with asyncio.timeout(CONNECT):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=context, server_hostname=peer.who.id, ssl_shutdown_timeout=1.0
            )
    except TimeoutError as error:
        raise UnreachableError(f"{address} does not answer") from error
    except ssl.SSLError as error:
        raise UnreachableError(
            f"{address}: no TLS as of an instance ({error.reason or 'broken off'})"
        ) from error
    except OSError as error:
        raise UnreachableError(f"{address}: {error.strerror or type(error).__name__}") from error
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True) or b""
    try:
        good = hmac.compare_digest(key_digest(shown), peer.said.pin)
    except TrustError:
        good = False
    if not good:
        _close([(reader, writer)])
        raise RefusedError(f"{address} has another key than {peer.who.id} announced")
    return reader, writer


def _close(connections: Iterable[Connection]) -> None:
    """Nothing was said on them, so nothing is waited for."""
    for _, writer in connections:
        writer.transport.abort()


def _worst(peer: Peer, problems: Sequence[AmpzeroError]) -> AmpzeroError:
    """The error that tells most: a wrong key is more than a silent address."""
    if not problems:
        return UnreachableError(
            f"{peer.who.id} announces no address that can be dialled from here",
            "is it behind a NAT? See its ampzero status",
        )
    said = "; ".join(error.message for error in problems)[:400]
    if wrong := [error for error in problems if isinstance(error, RefusedError)]:
        return RefusedError(
            f"{peer.who.id}: {said}" if len(problems) > 1 else wrong[0].message,
            "nothing was sent; it may have changed its key just now, and announce it soon",
        )
    return UnreachableError(f"{peer.who.id} cannot be reached: {said}", "see its ampzero status: hub, nat")
