"""The contact process as one ASGI application on a unix socket, with what it does by itself in its lifespan.

/judge: nginx's question about a caller (gate.py). /call/HOST/PATH: a call to another instance (calls.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from keys.contact.addresses import addresses, usable
from keys.contact.announcer import Announcer, Place
from keys.contact.aside import Aside
from keys.contact.calls import Calls
from keys.contact.gate import Gate
from keys.contact.nat import NatKeeper, switched_off
from keys.contact.own import Own
from keys.contact.resolver import Peer, Resolver
from keys.hubapi import HubApi
from keys.hubs import open_hub
from lib.contact import report, token
from lib.contact.plan import is_near
from lib.errors import AmpzeroError, StorageError, UnreachableError
from lib.files import write_atomic

AT_ONCE = 32
"""Callers that are judged, and calls that are prepared, at the same time."""
LOOK = 10.0
"""Seconds between looks whether our own TLS key has changed."""


@dataclass(frozen=True)
class Settings:
    """What the process is told: `port` is nginx's for other instances, `addresses` what amprun.yaml names."""

    directory: Path
    state: Path
    port: int
    addresses: tuple[str, ...]
    nat: bool
    secret: bytes
    passphrase_file: Path | None = None


class Process:
    """The parts of one contact process, and the loop that announces."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._file = settings.state / report.FILE
        self._folder = settings.directory / "ampnode"
        self._hub: HubApi | None = None
        self._own = Own(self._folder, settings.state, settings.passphrase_file)
        self._resolver = Resolver(self.hub)
        self._gate = Gate(self._resolver)
        self._aside, self._alone = Aside(AT_ONCE), Aside(1)
        self._wake = asyncio.Event()
        self._nat: NatKeeper | None = None
        before = report.read(self._file)
        self._announcer = Announcer(self._own, self.hub, self._place, seq=before.seq if before else 0)

    def hub(self) -> HubApi:
        """The instance's hub, opened once.

        Raises: MissingError, StorageError, TrustError, AmpzeroError.
        """
        if self._hub is None:
            self._hub = open_hub(self._folder)
        return self._hub

    def _dialled(self, peer: Peer) -> list[str]:
        us = self._announcer.report
        ours = us.addresses if peer.who.id != us.id else ()
        return usable(peer.said.addresses, near=self.near(), ours=ours)

    def near(self) -> bool:
        """Whether the hub is on this machine."""
        return self._hub is not None and is_near(self._hub.root.url)

    def application(self) -> Starlette:
        """What answers on the socket."""
        calls = Calls(self._own, self._resolver, self._aside, self._dialled)
        return Starlette(
            routes=[Route("/judge", self._judge), Mount("/call", calls)], lifespan=self._lifespan
        )

    async def _judge(self, request: Request) -> Response:
        """204 with the caller in a signed header, or 403 with the reason; 503 where nobody can tell now."""
        claimed = request.headers.get(token.FROM, "")
        shown = request.headers.get("ampzero-certificate", "")
        try:
            caller = await self._aside.run(lambda: self._gate.judge(claimed, shown))
        except AmpzeroError as error:
            passing = isinstance(error, UnreachableError | StorageError)
            reason = error.message.encode("ascii", "replace").decode()[:300]
            return Response(status_code=503 if passing else 403, headers={token.REFUSED: reason})
        return Response(status_code=204, headers={token.HEADER: token.write(caller, self._settings.secret)})

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._announce_always()), asyncio.create_task(self._watch())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._nat is not None:
                await asyncio.to_thread(self._nat.stop)
            self._file.unlink(missing_ok=True)

    async def _announce_always(self) -> None:
        loop = asyncio.get_running_loop()
        self._write()
        while True:
            self._wake.clear()
            wait = await self._alone.run(self._announcer.step)
            self._write()
            if self._settings.nat and self._nat is None and self._announcer.report.id:
                state = self._settings.state / "nat.json"
                self._nat = NatKeeper(
                    self._settings.port, self._announcer.report.id, state,
                    lambda: _tell(loop, self._wake),
                )  # fmt: skip
                self._nat.start()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()

    async def _watch(self) -> None:
        """Announce again soon after our own TLS key has changed."""
        while True:
            await asyncio.sleep(LOOK)
            if await self._alone.run(self._announcer.changed):
                self._wake.set()

    def _place(self, observed: str) -> Place:
        hub, port, mapping = self.hub(), self._settings.port, self._nat.mapping if self._nat else None
        if self._settings.nat and mapping is None:
            # The gateway may still say so: where nothing is mapped yet, the hub would dial us in vain.
            observed = ""
        found = self._settings.addresses or addresses(
            port, near=self.near(), mapping=mapping, observed=observed,
            hub=urlsplit(hub.root.url).hostname or "",
        )  # fmt: skip
        reachable = mapping.reachable if mapping else None
        if self._announcer.report.reachable:
            reachable = True
        return Place(found, reachable, served=_why_unserved(port))

    def _write(self) -> None:
        """Tell `status`; a full disk must not end us."""
        nat = self._nat.report() if self._nat else switched_off()
        told = report.ContactReport(os.getpid(), self._announcer.report, nat, self._announcer.seq)
        with contextlib.suppress(StorageError):
            write_atomic(self._file, msgspec.json.encode(told), 0o600)


def _tell(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    """Set an event of the loop, from another thread."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(event.set)


def _why_unserved(port: int) -> str:
    """Why nobody could call us: an instance's own, older nginx.conf does not listen for others."""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            probe.connect((host, port))
            return ""
    return f"nobody listens on port {port} for other instances: nginx/nginx.conf may be of an older ampzero"
