"""One-time links that sign a browser in, kept as files so that any process can redeem them.

Owns state/login: one 0600 file a link, named by the SHA-256 of its token and holding the Unix time at which
it expires. The token itself is nowhere on the disk. Redeeming is unlink(2): of all processes and threads
that try, the kernel lets exactly one succeed. The session that follows is lib/node/session.py's.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from lib.addressing import typed
from lib.errors import UsageError
from lib.files import make_folder, storage_errors, write_atomic
from lib.instance import CONFIG_NAME, Instance

LIFETIME = 600.0
"""Seconds that a link can be used."""
LONGEST_TOKEN = 128
"""Characters; ours have 43. Anything longer is not looked at."""


class LoginLinks:
    """The one-time tokens of one instance, in the folder `state`/login; `clock` gives Unix time."""

    def __init__(self, state: Path, clock: Callable[[], float] = time.time) -> None:
        self.folder = state / "login"
        self.clock = clock

    def make(self) -> str:
        """A new token of 256 random bits, in URL-safe base64. Expired ones are cleared away.

        Raises: StorageError.
        """
        make_folder(self.folder, 0o700)
        self._clear()
        token = secrets.token_urlsafe(32)
        write_atomic(self._path(token), f"{self.clock() + LIFETIME:.0f}\n", 0o600)
        return token

    def redeem(self, token: str) -> bool:
        """Use `token` up; True exactly once, and only before it expires."""
        if not token or len(token) > LONGEST_TOKEN:
            return False
        path = self._path(token)
        expires = read_expiry(path)
        try:
            path.unlink()
        except OSError:
            return False
        return self.clock() < expires

    def _path(self, token: str) -> Path:
        return self.folder / hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()

    def _clear(self) -> None:
        clear_expired(self.folder, self.clock())


def read_expiry(path: Path) -> float:
    """The Unix time that a link's or a session's file holds; 0 where there is none."""
    try:
        return float(path.read_text(encoding="ascii")[:32])
    except (OSError, ValueError):
        return 0.0


def clear_expired(folder: Path, now: float) -> None:
    """Remove the files of `folder` whose time is over; files still being written (dotted) are left alone.

    Raises: StorageError.
    """
    with storage_errors(folder):
        for path in folder.iterdir():
            if not path.name.startswith(".") and read_expiry(path) <= now:
                path.unlink(missing_ok=True)


def make_link(instance: Instance) -> str:
    """A new one-time link to the instance's console, good for LIFETIME seconds.

    The token stands in the URL's fragment, which a browser never sends: no access log, referrer or
    link preview gets to see it (docs/decisions/050-login-links.md).

    Raises: StorageError, UsageError where the instance has no console to sign in to.
    """
    kinds = {entry.kind or name for name, entry in instance.config.services.items()}
    for kind in ("nginx", "ampnode"):
        if kind not in kinds:
            raise UsageError(
                f"{instance.name} has no {kind} service, so it has no page to sign in to",
                f"add `{kind}: {{}}` under services: in {instance.config_file}"
                if instance.config_file.name == CONFIG_NAME
                else f"ampzero attach {typed(instance)} shows it in the terminal",
            )
    make_folder(instance.state, 0o700)
    return f"https://localhost:{instance.config.port}/login#{LoginLinks(instance.state).make()}"
