"""TCP ports: chosen once, kept from run to run, held until their process starts, and who has them.

Owns state/ports.json. A port counts as free when it can be bound on all addresses of IPv4 and IPv6.
"""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from lib.errors import TakenError
from lib.files import make_folder, write_atomic
from lib.portholder import holder

FIRST, COUNT = 20000, 10000
"""Automatic ports: below the range from which Linux (32768 on) and macOS (49152 on) lend ports to clients."""


def has_ipv6() -> bool:
    """Whether this machine can listen on ::1."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def bind_all(port: int, *, reuse: bool) -> list[socket.socket]:
    """Sockets bound to `port` on all addresses, not listening.

    With `reuse` connections that are closing do not count, as they do not for the servers.

    Raises: OSError when another has it.
    """
    held: list[socket.socket] = []
    try:
        for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104 -- never listens
            if family == socket.AF_INET6 and not has_ipv6():
                continue
            one = socket.socket(family, socket.SOCK_STREAM)
            held.append(one)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
            one.bind((address, port))
    except OSError:
        for one in held:
            one.close()
        raise
    return held


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now.

    Raises: OSError for another reason than that it is taken (a port below 1024, say).
    """
    try:
        held = bind_all(port, reuse=True)
    except PermissionError:
        raise
    except OSError:
        return False
    for one in held:
        one.close()
    return True


def taken(ports: Iterable[int]) -> dict[int, str]:
    """The ones of `ports` on which somebody still listens, each with its holder; empty proves none."""
    return {port: holder(port) or "an unknown process" for port in ports if not is_free(port)}


def ports_free(ports: Iterable[int]) -> bool:
    """Whether nobody listens on any of `ports`."""
    return not taken(ports)


class PortBook:
    """The ports of one instance, by key. `path` is its state/ports.json.

    With `strict` a remembered port that another has taken is an error, not a reason to choose another.
    """

    def __init__(
        self,
        path: Path,
        instance: str,
        *,
        strict: bool = False,
        ours: Callable[[int], bool] = lambda _: False,
    ) -> None:
        """`instance` tells the ports of two instances apart; `ours` says whether a taken port is taken by a
        process of the instance itself, which is no obstacle."""
        self.path = path
        self.instance = instance
        self.strict = strict
        self.ours = ours
        self.ports = self._read()
        self._checked: set[str] = set()
        self._held: dict[str, list[socket.socket]] = {}

    def port(self, key: str, wanted: int = 0) -> int:
        """The port for `key`: `wanted`, or for 0 the remembered one, or a new one. The same at every call.

        The port is free when it is first given, and is held until `release`.

        Raises: TakenError (by whom), StorageError.
        """
        known = self.ports.get(key, 0)
        if key in self._checked and wanted in (0, known):
            return known
        if wanted:
            chosen = wanted if wanted == known and self.ours(wanted) else self._claim(key, wanted)
        elif known and self.ours(known):
            chosen = known
        elif known and (self.strict or is_free(known)):
            chosen = self._claim(key, known)
        else:
            chosen = self._choose(key)
        self._checked.add(key)
        if chosen != known:
            self.ports[key] = chosen
            self._write()
        return chosen

    def hold(self) -> None:
        """Hold every port that was given, again; a port that was taken meanwhile is left alone."""
        for key in self._checked - self._held.keys():
            self._hold(key, self.ports[key])

    def release(self, key: str = "") -> None:
        """Let go of the port of `key`, or of all: now its process can listen on it."""
        for name in [key] if key else list(self._held):
            for one in self._held.pop(name, []):
                one.close()

    def descriptors(self) -> dict[int, tuple[int, ...]]:
        """The open sockets that hold each port, for a process that inherits them and lets go itself."""
        return {self.ports[key]: tuple(one.fileno() for one in held) for key, held in self._held.items()}

    def _claim(self, key: str, port: int) -> int:
        """`port`, checked and held.

        Raises: TakenError.
        """
        other = next((name for name, known in self.ports.items() if known == port and name in self._held), "")
        if other and other != key:
            raise TakenError(
                f"port {port} is wanted by both {other} and {key}", "give one of them another port"
            )
        self.release(key)
        try:
            free = is_free(port)
        except PermissionError as error:
            raise TakenError(
                f"port {port} for {key} needs root rights", "choose a port from 1024 on in amprun.yaml"
            ) from error
        if not free:
            who = holder(port) or "another process"
            raise TakenError(
                f"port {port} for {key} is taken by {who}", "stop it, or choose another port in amprun.yaml"
            )
        self._hold(key, port)
        return port

    def _choose(self, key: str) -> int:
        """A free port outside the range of client ports; the same one first on every machine.

        Raises: TakenError when all are taken.
        """
        digest = hashlib.sha256(f"{self.instance}\0{key}".encode()).digest()
        start = int.from_bytes(digest[:4], "big") % COUNT
        ours = set(self.ports.values())
        for step in range(COUNT):
            port = FIRST + (start + step) % COUNT
            if port not in ours and is_free(port):
                self._hold(key, port)
                return port
        raise TakenError(f"every port from {FIRST} to {FIRST + COUNT - 1} is taken")

    def _hold(self, key: str, port: int) -> None:
        """Keep others off `port`. Without SO_REUSEADDR, or a server that sets it could bind beside us."""
        for reuse in (False, True):
            with suppress(OSError):
                self._held[key] = bind_all(port, reuse=reuse)
                return

    def _read(self) -> dict[str, int]:
        """What is remembered; a file that is not ours to read or is damaged counts as empty."""
        try:
            found = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return {}
        if not isinstance(found, dict):
            return {}
        return {str(key): port for key, port in found.items() if type(port) is int and 1 <= port <= 65535}

    def _write(self) -> None:
        make_folder(self.path.parent, 0o700)
        write_atomic(self.path, json.dumps(self.ports, indent=1, sort_keys=True) + "\n", 0o600)


def remembered(path: Path) -> dict[str, int]:
    """The ports in the state/ports.json at `path` by their key; reads only, and holds nothing."""
    return dict(PortBook(path, "").ports)
