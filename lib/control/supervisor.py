"""supervisor's HTTP server on a unix socket: XML-RPC at /RPC2, live output at /logtail and /mainlogtail.

Everything but the listening socket is loaded at the first request.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.control.httpserver import HttpServer, Request, Response
from lib.supervisor.spec import Plan

if TYPE_CHECKING:
    from lib.control.supervisor_rpc import SupervisorRpc

SUPERVISOR_NAME = "supervisor.sock"
CHANNELS = {"stdout": "out", "stderr": "err"}
BACKLOG = 64


def listen(path: Path) -> socket.socket:
    """A listening unix socket at `path`, for the own user alone.

    Raises: OSError.
    """
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o077)
    try:
        listening.bind(str(path))
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(before)
    listening.setblocking(False)
    listening.listen(BACKLOG)
    return listening


class SupervisorFace:
    """Answers supervisor's clients from the running loop, from `open` to `close`."""

    def __init__(
        self, folder: Path, plan: Callable[[], Plan], status: Callable[[], dict[str, Any]],
        handle: Callable[[str, dict[str, Any]], Awaitable[Any]],
    ) -> None:  # fmt: skip
        """Raises: OSError when the socket cannot be bound."""
        self._plan = plan
        self._status = status
        self._handle = handle
        self._path = folder / SUPERVISOR_NAME
        self._rpc: SupervisorRpc | None = None
        self._server = HttpServer(listen(self._path), self._answer, peers=True)

    async def open(self) -> None:
        """Begin to accept."""
        await self._server.open()

    async def close(self) -> None:
        """Send the answers that are under way, for a second at most, and close."""
        await self._server.close()
        self._path.unlink(missing_ok=True)

    async def _answer(self, request: Request) -> Response:
        from urllib.parse import unquote

        from lib.control.supervisor_rpc import SupervisorRpc

        if self._rpc is None:
            self._rpc = SupervisorRpc(self._plan, self._status, self._handle)
        path = request.target.partition("?")[0]
        if path == "/RPC2":
            return await self._call(self._rpc, request)
        if request.method != "GET":
            return Response(b"only GET\n", 405)
        return self._tail(self._rpc, unquote(path))

    async def _call(self, rpc: SupervisorRpc, request: Request) -> Response:
        from lib.control import xmlrpc
        from lib.control.supervisor_view import Fault

        if request.method != "POST":
            return Response(b"only POST\n", 405)
        try:
            name, params = xmlrpc.parse_call(request.body)
        except xmlrpc.NotACallError as error:
            return Response(f"{error}\n".encode(errors="replace"), 400)
        try:
            document = xmlrpc.answer(await rpc.call(name, params))
        except Fault as fault:
            document = xmlrpc.fault(fault.code, fault.text)
        return Response(document, type="text/xml")

    def _tail(self, rpc: SupervisorRpc, path: str) -> Response:
        from lib.control import logtext
        from lib.control.supervisor_view import Fault

        words = path.strip("/").split("/")
        try:
            if words == ["mainlogtail"]:
                return Response(stream=logtext.follow(rpc.main_source()))
            if words[0] == "logtail" and 2 <= len(words) <= 3:
                stream = CHANNELS.get(words[2] if len(words) == 3 else "stdout")
                if stream is not None:
                    return Response(stream=logtext.follow(rpc.source(words[1], stream)))
        except Fault as fault:
            return Response(f"{fault.text}\n".encode(errors="replace"), 404)
        return Response(b"not here\n", 404)
