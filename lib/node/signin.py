"""Signing in with a one-time link, and out again.

The link opens a page with one button. Only pressing it (a POST) uses the link up: previews, scanners and
prefetching browsers open links, too. Owns the cookie; the session behind it is lib/node/session.py's.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from lib.login import LoginLinks
from lib.node.guard import genuine, read_form, same_origin
from lib.node.pages import Pages
from lib.node.session import Sessions


class SignIn:
    """/login and /logout; `home` is where one lands after signing in."""

    def __init__(self, pages: Pages, sessions: Sessions, links: LoginLinks, home: str, name: str) -> None:
        self.pages = pages
        self.sessions = sessions
        self.links = links
        self.home = home
        self.command = f"ampzero login {name}"

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/login", self.show, methods=["GET"]),
            Route("/login", self.redeem, methods=["POST"]),
            Route("/logout", self.leave, methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        """The page with the button; its script moves the token from the address into the form."""
        return self.pages.page("login", command=self.command)

    async def redeem(self, request: Request) -> Response:
        """Use the link up and start a session."""
        form = await read_form(request)
        if form is None or not same_origin(request):
            return self._refused(403, "This sign-in did not come from the instance's own page.")
        if not self.links.redeem(form.get("token", "").strip()):
            return self._refused(403, "This link was used already, or is older than ten minutes.")
        response = RedirectResponse(self.home, 303)
        response.set_cookie(
            self.sessions.cookie, self.sessions.start(), max_age=int(self.sessions.lifetime), path="/",
            secure=True, httponly=True, samesite="strict",
        )  # fmt: skip
        return response

    async def leave(self, request: Request) -> Response:
        """End the session, on the server as well."""
        form = await read_form(request)
        session = self.sessions.find(request.cookies.get(self.sessions.cookie))
        if session is not None:
            if form is None or not same_origin(request) or not genuine(session, form):
                return self._refused(403, "This sign-out did not come from the instance's own page.")
            self.sessions.end(session)
        response = RedirectResponse(self.home, 303)
        response.delete_cookie(self.sessions.cookie, path="/", secure=True, httponly=True, samesite="strict")
        return response

    def _refused(self, status: int, text: str) -> Response:
        return self.pages.error(status, "Not signed in", text, hint=self.command)
