"""Sign-ins of the console: a signed cookie, and a file that says the session is still on.

Owns the session key (state/session.key), the sessions (state/sessions) and the tokens against forgery.
Nothing is kept in memory, so every node process knows every session and a restart ends none.

The cookie is `ID.EXPIRES.MAC`: 24 random bytes in URL-safe base64, Unix seconds, and the HMAC-SHA256 of
both. A session is good while the MAC fits, its time is not over, and its file is there; signing out
removes the file, after which a copy of the cookie is worth nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lib.files import make_folder, storage_errors, write_atomic, write_new
from lib.login import clear_expired

KEY_BYTES = 32
LONGEST_COOKIE = 256
"""Characters; ours have about 110. Anything longer is not looked at."""


@dataclass(frozen=True)
class Session:
    """One sign-in: its id, the Unix time at which it ends, and the token that its forms carry."""

    id: str
    expires: int
    csrf: str


class Sessions:
    """The sessions of one instance, below its `state` folder; `lifetime` in seconds."""

    def __init__(self, state: Path, lifetime: float, clock: Callable[[], float] = time.time) -> None:
        make_folder(state, 0o700)
        self.folder = make_folder(state / "sessions", 0o700)
        self.key = shared_key(state / "session.key")
        self.lifetime = lifetime
        self.clock = clock
        # Cookies know no ports: without names of their own, instances on localhost would sign each other out.
        self.cookie = "__Host-ampzero-" + hashlib.sha256(os.fsencode(state)).hexdigest()[:12]

    def start(self) -> str:
        """Begin a session and return the cookie's value. Sessions that are over are cleared away.

        Raises: StorageError.
        """
        clear_expired(self.folder, self.clock())
        name = secrets.token_urlsafe(24)
        expires = int(self.clock() + self.lifetime)
        write_atomic(self._path(name), f"{expires}\n", 0o600)
        return f"{name}.{expires}.{self._mac('session', name, expires)}"

    def find(self, cookie: str | None) -> Session | None:
        """The session of a cookie's value; None when it is forged, over, or signed out."""
        if not cookie or len(cookie) > LONGEST_COOKIE or not cookie.isascii():
            return None
        name, _, rest = cookie.partition(".")
        digits, _, mac = rest.partition(".")
        if not digits.isdigit():
            return None
        expires = int(digits)
        if not hmac.compare_digest(mac, self._mac("session", name, expires)):
            return None
        if self.clock() >= expires or not self._path(name).exists():
            return None
        return Session(name, expires, self._mac("csrf", name, expires))

    def end(self, session: Session) -> None:
        """Sign out: neither this cookie nor a copy of it works from now on."""
        with contextlib.suppress(OSError):
            self._path(session.id).unlink()

    def _path(self, name: str) -> Path:
        return self.folder / hashlib.sha256(name.encode()).hexdigest()

    def _mac(self, purpose: str, name: str, expires: int) -> str:
        return hmac.new(self.key, f"{purpose}\n{name}\n{expires}".encode(), hashlib.sha256).hexdigest()


def shared_key(path: Path) -> bytes:
    """The key in `path`, made (0600) by whichever process comes first; all get the same one.

    Raises: StorageError.
    """
    with storage_errors(path):
        if not path.exists():
            write_new(path, secrets.token_bytes(KEY_BYTES), 0o600)
        return path.read_bytes()
