"""Blobs reach many hosts: by relays where that pays, from here where it does not, or where a relay fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from deploy.blobs import Blob
from deploy.fleet import Member
from deploy.progress import Progress
from deploy.relaycertificate import RelayCertificate, make
from deploy.relays import SEEDS, SMALLEST, Fanout, FromHere, Place
from lib.errors import AmpzeroError, RefusedError, UnreachableError

LIFE = 600
"""Seconds that a relay serves at most."""
LEAST_RATE = 512 * 1024
"""Bytes in a second below which a relay is too slow: another, or this machine, goes on from there."""
START_TIME = 10
Send = Callable[[Member, Blob], None]
"""Sends a blob from here."""


class Relays:
    """The blobs of one deploy on their way to `hosts`. Each host's thread calls for its own host only."""

    def __init__(self, hosts: Iterable[str], blobs: Mapping[str, Blob], *, send: Send, epoch: int,
                 deadline: float, progress: Progress) -> None:  # fmt: skip
        names = list(hosts)
        large = [sha256 for sha256, blob in blobs.items() if blob.size >= SMALLEST]
        self._fanouts = {sha256: Fanout(names) for sha256 in large} if len(names) > SEEDS else {}
        self._certificate = make() if self._fanouts else RelayCertificate("", "")
        self._changed = threading.Condition()
        self._send = send
        self._epoch = epoch
        self._deadline = deadline
        self._progress = progress

    def leave(self, host: str, but: Iterable[str] = ()) -> None:
        """The host needs none of the blobs any more, except these."""
        with self._changed:
            for sha256 in self._fanouts.keys() - set(but):
                self._fanouts[sha256].leave(host)
            self._changed.notify_all()

    def deliver(self, member: Member, blob: Blob) -> None:
        """Have the host get the blob, wherever from, and serve it to others that need it.

        Raises: AmpzeroError.
        """
        fanout = self._fanouts.get(blob.sha256)
        if fanout is None:
            self._send(member, blob)
            return
        while isinstance(source := self._source(fanout, member), Place):
            error = self._pull(member, blob, source)
            with self._changed:
                if error is None:
                    fanout.pulled(source)
                else:
                    fanout.failed(member.name, source, lied=isinstance(error, RefusedError))
                self._changed.notify_all()
            if error is None:
                break
        else:
            self._send_here(member, blob, resumed=fanout.has_tried(member.name))
        with self._changed:
            children = fanout.children()
        places = self._serve(member, blob, children) if children else []
        with self._changed:
            fanout.has(member.name, places)
            self._changed.notify_all()

    def _send_here(self, member: Member, blob: Blob, *, resumed: bool) -> None:
        try:
            self._send(member, blob)
        except RefusedError:
            if not resumed:
                raise
            self._send(member, blob)  # what a relay had sent before was damaged; now it is removed

    def _source(self, fanout: Fanout, member: Member) -> Place | FromHere:
        with self._changed:
            while (source := fanout.source(member.name)) is None:
                self._progress.host(member.name, "waiting for a relay")
                self._changed.wait()
            return source

    def _pull(self, member: Member, blob: Blob, place: Place) -> AmpzeroError | None:
        """None when the host has it.

        Raises: AmpzeroError that no other relay would mend.
        """
        self._progress.host(member.name, f"fetching from {place.parent}")
        seconds = START_TIME + blob.size // LEAST_RATE
        try:
            member.call(
                "pull", timeout=seconds + self._deadline, epoch=self._epoch, sha256=blob.sha256,
                address=place.address, port=place.port, token=place.token, seconds=seconds,
                certificate=self._certificate.public,
            )  # fmt: skip
        except (RefusedError, UnreachableError) as error:
            return error
        return None

    def _serve(self, member: Member, blob: Blob, children: int) -> list[Place]:
        """The places that the host offers; none where it cannot: it has the blob all the same."""
        with suppress(AmpzeroError):
            return _places(member.name, member.call(
                "relay", timeout=self._deadline, epoch=self._epoch, sha256s=[blob.sha256], ttl=LIFE,
                children=children, certificate=self._certificate.private,
            ))  # fmt: skip
        return []


def _places(parent: str, said: dict[str, Any]) -> list[Place]:
    match said:
        case {"address": str(address), "port": int(port), "tokens": list(tokens)}:
            return [Place(parent, address, port, token) for token in tokens if isinstance(token, str)]
    return []
