"""Other instances that call: who they are, as data for modules, and what they may reach: modules, no console.

A request that came by the port for other instances carries the contact process's word for who calls
(lib/contact/token.py). All others are browsers, whatever they say.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from lib.contact import token
from lib.contact.token import Caller
from lib.errors import AmpzeroError
from lib.signed import read_secret


class Callers:
    """ASGI: sets `request.state.caller` (None for a browser), and gives callers' requests to `modules`."""

    def __init__(self, app: ASGIApp, modules: ASGIApp, secret: bytes) -> None:
        self.app = app
        self.modules = modules
        self._secret = secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        caller = self._caller(scope)
        scope = {**scope, "state": {**scope.get("state", {}), "caller": caller}}
        await (self.modules if caller else self.app)(scope, receive, send)

    def _caller(self, scope: Scope) -> Caller | None:
        if not self._secret:
            return None
        name = token.HEADER.lower().encode()
        said = [value for key, value in scope["headers"] if key == name]
        return token.read(said[0].decode("latin-1"), self._secret) if len(said) == 1 else None


def contact_secret(environment: Mapping[str, str]) -> bytes:
    """The contact process's secret; empty where the instance has none, and so nobody is believed.

    Raises: ConfigError.
    """
    path = environment.get("CONTACT_SECRET_FILE", "")
    try:
        return read_secret(Path(path)) if path else b""
    except AmpzeroError as error:
        if error.exit_code == 5:
            return b""
        raise
