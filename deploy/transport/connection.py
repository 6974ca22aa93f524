"""An SSH connection that was let in: by way of jump hosts, its host key checked, its user logged in."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import paramiko

from deploy.transport.base import left
from deploy.transport.hostcertificate import CERTIFICATE
from deploy.transport.identities import describe, held, offers
from deploy.transport.knownhosts import AUTHORITY, PORT, HostKey
from deploy.transport.settings import Settings
from deploy.transport.target import Target
from lib.errors import ConfigError, UnreachableError

KEEPALIVE = 5
"""Seconds between messages on an idle connection, so that there is something to be acknowledged."""
SILENCE = 20
"""Seconds without an acknowledgement after which the kernel gives a connection up (RFC 5482)."""
TRIES = 5
"""A server with too many at its door drops some before it says anything: those knock again."""
DEEPEST = 8
"""Jump hosts behind one another."""


class DroppedError(Exception):
    """The server ended the connection before keys were agreed on."""


class Connection:
    """A connection that is let in. `transport` is paramiko's; `via` is the one to the jump host before it."""

    def __init__(self, target: Target, settings: Settings, via: Connection | None) -> None:
        """Connect. Raises: UnreachableError; RefusedError for its host key; ConfigError."""
        self._settings = settings
        self._via = via
        self._lock = threading.Lock()
        self._closed = False
        deadline = time.monotonic() + target.timeout
        with _translated(target):
            for number in range(TRIES):
                self._plug = _plug(target, via, deadline)
                try:
                    self.transport = paramiko.Transport(self._plug)
                    _shake_hands(self.transport, target, settings, deadline)
                    _log_in(self.transport, target, settings, deadline)
                    self.transport.set_keepalive(KEEPALIVE)
                    return
                except BaseException as error:
                    self._unplug()
                    if not isinstance(error, DroppedError) or number == TRIES - 1:
                        raise
                pause = random.uniform(0.1, 0.5) * (number + 1)  # noqa: S311 -- spreads load, hides nothing
                time.sleep(min(pause, left(deadline)))

    @property
    def alive(self) -> bool:
        """Whether it can still be used."""
        return self.transport.is_active()

    def close(self) -> None:
        """End it; harmless when it has ended."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._unplug()
        if self._via is not None:
            self._settings.jumps.give_back(self._via)

    def _unplug(self) -> None:
        # Both ways wake paramiko's thread, for which its close() waits.
        with suppress(OSError, EOFError):
            if isinstance(self._plug, socket.socket):
                self._plug.shutdown(socket.SHUT_RDWR)
            else:
                self._plug.close()
        if hasattr(self, "transport"):
            self.transport.close()
        self._plug.close()


def connect(target: Target, settings: Settings) -> Connection:
    """A connection to the target, through the jump hosts before it; whoever asks closes it.

    Raises: UnreachableError; RefusedError for a host key; ConfigError.
    """
    way = [target]
    while hop := way[0].hop(settings):
        if len(way) > DEEPEST:
            raise ConfigError(f"{target.name}: its ProxyJump leads in a circle")
        way.insert(0, hop)
    return _follow(way, settings)


def _follow(way: Sequence[Target], settings: Settings) -> Connection:
    """The connection to the last of `way`, each through the one before it."""
    before, target = way[:-1], way[-1]
    via = settings.jumps.take(tuple(before), lambda: _follow(before, settings)) if before else None
    try:
        # Not before the way there is open: whoever holds a place must not wait for another's.
        with settings.handshakes.one():
            return Connection(target, settings, via)
    except BaseException:
        if via is not None:
            settings.jumps.give_back(via)
        raise


def _plug(target: Target, via: Connection | None, deadline: float) -> socket.socket | paramiko.Channel:
    """What the bytes go through: a TCP connection, or one that the jump host makes for us."""
    if via is not None:
        return via.transport.open_channel(
            "direct-tcpip", (target.host, target.port), ("127.0.0.1", 0), timeout=left(deadline)
        )
    made = socket.create_connection((target.host, target.port), left(deadline))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE * 1000)
    return made


def _shake_hands(transport: paramiko.Transport, target: Target, settings: Settings, deadline: float) -> None:
    """Agree on keys with the host that has the host key which is known.

    Raises: DroppedError, RefusedError, TimeoutError, paramiko.SSHException.
    """
    known = settings.known(target.known_hosts)
    options = transport.get_security_options()
    options.key_types = _algorithms(known.kinds(target.key_name, target.port), options.key_types)
    transport.banner_timeout = transport.handshake_timeout = left(deadline)
    agreed = threading.Event()
    transport.start_client(event=agreed)
    if not agreed.wait(left(deadline)):
        raise TimeoutError
    if not transport.is_active():
        left(deadline)
        problem = transport.get_exception()
        # Servers with too many guests drop some, the last ones after the exchange of versions.
        if not transport.remote_version or isinstance(problem, EOFError):
            raise DroppedError
        raise problem or paramiko.SSHException("the connection was lost")
    key = transport.get_remote_server_key()
    blob = key.public_blob
    shown = HostKey(blob.key_type, blob.key_blob) if blob else HostKey(key.get_name(), key.asbytes())
    known.verify(target.key_name, target.port, shown, target.name)


def _algorithms(kinds: list[str], usual: Sequence[str]) -> tuple[str, ...]:
    """The host key algorithms to ask for, those first whose keys are known: else another key is shown."""
    known = [name for name in usual if name in kinds or ("ssh-rsa" in kinds and name.startswith("rsa-"))]
    certified = [name + CERTIFICATE for name in usual] if AUTHORITY in kinds else []
    return tuple(dict.fromkeys([*certified, *known, *usual]))


def _log_in(transport: paramiko.Transport, target: Target, settings: Settings, deadline: float) -> None:
    """Offer the keys.

    Raises: UnreachableError, TimeoutError, paramiko.SSHException.
    """
    offered = []
    with held(target) as agent:
        for key in offers(target, agent, settings.certificates):
            transport.auth_timeout = left(deadline)
            offered.append(describe(key))
            try:
                more = transport.auth_publickey(target.user, key)
            except paramiko.AuthenticationException:
                left(deadline)
                if not transport.is_active():
                    break
                continue
            if more:
                raise UnreachableError(f"{target.name}: beside a key it asks for: {', '.join(more)[:100]}")
            return
    if not offered:
        raise UnreachableError(
            f"{target.name}: there is no key to log in with",
            "ssh-keygen -t ed25519 makes one; or start an agent",
        )
    port = "" if target.port == PORT else f"-p {target.port} "
    raise UnreachableError(
        f"{target.name}: user {target.user} is not let in with {', '.join(offered)}",
        f"is it the right user? To let the key in: ssh-copy-id {port}{target.user}@{target.host}",
    )


@contextmanager
def _translated(target: Target) -> Iterator[None]:
    """What can go wrong on the way to a host, as one line.

    Raises: UnreachableError.
    """
    where = f"{target.host} port {target.port}"
    try:
        yield
    except DroppedError:
        raise UnreachableError(
            f"{target.name}: {where} ends the connection before it says anything",
            "is that an SSH server, and does it let this machine in?",
        ) from None
    except TimeoutError:
        raise UnreachableError(
            f"{target.name}: no answer from {where} within {target.timeout:g} s",
            "is the host up, and does a firewall let this machine in?",
        ) from None
    except socket.gaierror as error:
        raise UnreachableError(
            f"{target.name}: {target.host} has no address: {error.strerror}", "is the name right?"
        ) from error
    except ConnectionRefusedError as error:
        raise UnreachableError(
            f"{target.name}: {where} refuses the connection", "is sshd running there?"
        ) from error
    except paramiko.ChannelException as error:
        raise UnreachableError(f"{target.name}: the jump host cannot reach {where}: {error.text}") from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise UnreachableError(f"{target.name}: {where}: {str(error) or type(error).__name__}") from error
