"""How the hosts of a fleet are reached, and what they share: one Settings a fleet.

Shared are the known_hosts files, each parsed once, the connections to jump hosts, and the right to begin a
handshake: sshd drops connections at random when more than ten wait to be let in (MaxStartups 10:30:100),
and each handshake costs this machine some milliseconds of its processor.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.transport.jumps import Jumps
from deploy.transport.knownhosts import KnownHosts

if TYPE_CHECKING:
    import paramiko

    from deploy.transport.usercertificate import UserCertificates

HANDSHAKES = 30
"""At most so many at once."""
JITTER = 0.05
"""Seconds, at most, that a handshake waits beside others, so that they do not all arrive at once."""


class Handshakes:
    """The right to begin one, for `most` at a time."""

    def __init__(self, most: int = HANDSHAKES) -> None:
        self._places = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._busy = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a place. Whoever holds one has a deadline, so the wait has an end."""
        with self._places:
            with self._lock:
                beside, self._busy = self._busy, self._busy + 1
            try:
                if beside:
                    time.sleep(random.uniform(0, JITTER))  # noqa: S311 -- spreads load, hides nothing
                yield
            finally:
                with self._lock:
                    self._busy -= 1


@dataclass
class Settings:
    """`config`, `known_hosts` and `key` stand in for OpenSSH's own files; `timeout`: seconds to connect.

    `certificates` are offered before all other keys.
    """

    config: Path | None = None
    known_hosts: Path | None = None
    key: Path | None = None
    timeout: float = 15.0
    certificates: UserCertificates | None = None
    handshakes: Handshakes = field(default_factory=Handshakes, repr=False)
    jumps: Jumps[Any] = field(default_factory=Jumps, repr=False)
    _parsed: dict[tuple[Path, ...], KnownHosts] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def known(self, files: tuple[Path, ...]) -> KnownHosts:
        """What these known_hosts files say, as they were when it was first asked."""
        with self._lock:
            if files not in self._parsed:
                self._parsed[files] = KnownHosts(files)
            return self._parsed[files]

    @cached_property
    def ssh_config(self) -> paramiko.SSHConfig:
        """What OpenSSH's configuration says.

        Raises: ConfigError.
        """
        from deploy.transport.sshconfig import read_config

        return read_config(self.config)
