"""The console: the page that shows the instance, the stream that keeps it current, its buttons.

Owns the routes below /_ampzero. Every one of them wants a session; those that act want a POST from our own
page with the session's token as well.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from lib.config import NAME_PATTERN
from lib.control.client import AsyncControlClient
from lib.errors import AmpzeroError
from lib.node.guard import genuine, read_form, same_origin
from lib.node.pages import SECURITY_HEADERS, Pages
from lib.node.session import Session, Sessions
from lib.node.stream import Streams

ACTIONS = ("start", "stop", "restart")
PATIENCE = 1.5
"""Seconds that a button's request waits for the outcome. Never longer: a restart of ampnode waits for
this very process to end, and this process for its open requests."""
ACTION_TIMEOUT = 120.0
LONGEST_SEARCH = 200


class Console:
    """The console at `path`."""

    def __init__(
        self, path: str, pages: Pages, sessions: Sessions, streams: Streams, control: AsyncControlClient
    ) -> None:
        self.control_client = control
        self.path = path
        self.pages = pages
        self.sessions = sessions
        self.streams = streams
        self._acting: set[asyncio.Task[Any]] = set()

    def routes(self) -> list[Route]:
        """Everything but the page itself."""
        return [
            Route("/_ampzero/stream", self.stream, methods=["GET"]),
            Route("/_ampzero/status", self.status, methods=["GET"]),
            Route("/_ampzero/control", self.control, methods=["POST"]),
        ]

    def session(self, request: Request) -> Session | None:
        """Who asks; None when not signed in."""
        return self.sessions.find(request.cookies.get(self.sessions.cookie))

    async def page(self, request: Request) -> Response:
        """The console, or the words on how to sign in."""
        session = self.session(request)
        if session is None:
            return self.pages.page("signin", command=f"ampzero login {self.pages.name}")
        return self.pages.page("console", csrf=session.csrf, home=self.path)

    async def status(self, request: Request) -> Response:
        """The supervisor's status as JSON; 401 when not signed in, 503 without a supervisor."""
        if self.session(request) is None:
            return answer(401, "not signed in")
        try:
            status = await self.control_client.call("status", timeout=3.0)
        except AmpzeroError as error:
            return answer(503, error.message)
        return JSONResponse(status, headers=SECURITY_HEADERS)

    async def stream(self, request: Request) -> Response:
        """Server-sent events; `service` and `search` choose the log lines."""
        cookie = request.cookies.get(self.sessions.cookie)
        if self.sessions.find(cookie) is None:
            return answer(401, "not signed in")
        if self.streams.full:
            return answer(503, "too many pages are open")
        service = request.query_params.get("service", "")
        search = request.query_params.get("search", "")[:LONGEST_SEARCH]
        if service and not re.fullmatch(NAME_PATTERN, service):
            return answer(400, "no such service")
        events = self.streams.events(service, search, lambda: self.sessions.find(cookie) is not None)
        # nginx must pass events on as they come, and gzip would hold them back.
        headers = {**SECURITY_HEADERS, "X-Accel-Buffering": "no", "Cache-Control": "no-store, no-transform"}
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    async def control(self, request: Request) -> Response:
        """Start, stop or restart one service: form fields `action`, `service`, `csrf`.

        200 done, 202 under way, 409 the supervisor refused, 503 it does not answer.
        """
        session = self.session(request)
        if session is None:
            return answer(401, "not signed in")
        form = await read_form(request)
        if form is None or not same_origin(request) or not genuine(session, form):
            return answer(403, "this did not come from the console's own page")
        action, service = form.get("action", ""), form.get("service", "")
        if action not in ACTIONS or not re.fullmatch(NAME_PATTERN, service):
            return answer(400, "no such action or service")
        call = self.control_client.call(action, timeout=ACTION_TIMEOUT, services=[service])
        task: asyncio.Task[Any] = asyncio.ensure_future(call)
        self._acting.add(task)
        task.add_done_callback(self._acted)
        done, _ = await asyncio.wait({task}, timeout=PATIENCE)
        if not done:
            return answer(202, f"{action} {service}: under way")
        error = task.exception()
        if error is None:
            return answer(200, f"{action} {service}: done")
        if isinstance(error, AmpzeroError):
            return answer(409, error.message)
        raise error

    def _acted(self, task: asyncio.Task[Any]) -> None:
        self._acting.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not complain; the status shows the outcome


def answer(status: int, message: str) -> Response:
    """A short JSON answer for the page's script."""
    return JSONResponse({"message": message}, status, SECURITY_HEADERS)
