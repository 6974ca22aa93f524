"""The node runtime as one ASGI application: the modules, the console, and what belongs to both.

Order of the routes: the runtime's own paths, the console, the modules (longest path first). No state that
matters is in memory: any process answers any request, and each can be killed at any time.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from lib.control.client import AsyncControlClient
from lib.duration import seconds
from lib.login import LoginLinks
from lib.node.assets import Static
from lib.node.callers import Callers, contact_secret
from lib.node.config import AmpnodeConfig, load_config
from lib.node.console import Console
from lib.node.modules import load_module, open_libraries, open_package, trace
from lib.node.node import Node, Parts
from lib.node.pages import Pages
from lib.node.session import Sessions
from lib.node.settings import NodeSettings
from lib.node.signin import SignIn
from lib.node.stream import Streams

log = logging.getLogger("ampnode")


def create_app(settings: NodeSettings | None = None) -> Starlette:
    """The application of the instance that `settings` (default: the process's environment) names.

    Raises: MissingError, ConfigError for a bad ampnode.yaml, StorageError.
    """
    settings = settings or NodeSettings.from_environment(os.environ)
    config = load_config(settings.application / "ampnode.yaml")
    sessions = Sessions(settings.state, seconds(config.console.session))
    pages = Pages(settings.name)
    parts = Parts(settings, config.settings, sessions)
    control = AsyncControlClient(settings.control)
    streams = Streams(settings, control)
    console = Console(config.console.path, pages, sessions, streams, control)
    signin = SignIn(pages, sessions, LoginLinks(settings.state), config.console.path, settings.name)

    routes: list[BaseRoute] = [Route("/healthz", health)]
    if config.console.enabled:
        routes += [Mount("/_ampzero/static", Static()), *signin.routes(), *console.routes()]
        routes.append(Route(config.console.path, console.page))
    modules = module_routes(config, parts, pages)
    routes += modules

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = config.workers
        restore = on_terminate(streams.stop)
        log.info("%s: %d modules", settings.process, len(config.modules))
        if settings.successor:
            # A first start must be quick; who takes over must be quick from the first request.
            pages.warm()
        try:
            yield
        finally:
            restore()
            await parts.close()
            control.close()

    async def shown(request: Request, error: Exception) -> Response:
        return http_error(pages, request, error)

    async def failed(request: Request, error: Exception) -> Response:
        return pages.error(
            500, "Something went wrong", "The node runtime has an error; its log has the traceback.",
            hint=f"ampzero logs {settings.name} ampnode", traceback=trace(error) if settings.debug else "",
        )  # fmt: skip

    # Other instances reach modules and nothing else.
    called = Starlette(routes=modules, exception_handlers={HTTPException: shown, Exception: failed})
    callers = Middleware(Callers, modules=called, secret=contact_secret(settings.environment))
    return Starlette(
        routes=routes, lifespan=lifespan, middleware=[callers],
        exception_handlers={HTTPException: shown, Exception: failed},
    )  # fmt: skip


def module_routes(config: AmpnodeConfig, parts: Parts, pages: Pages) -> list[BaseRoute]:
    """A mount for each module; the longest path first, so that /a/b is not swallowed by /a."""
    open_libraries(parts.settings.application.parent / "site-packages")
    open_package(parts.settings.application / "services")
    paths = config.paths()
    mounts: list[BaseRoute] = []
    for name in sorted(paths, key=lambda name: len(paths[name]), reverse=True):
        node = Node(parts, name, paths[name] or "/", config.modules[name].options)
        app = load_module(name, node, pages)
        if paths[name]:
            # A mount alone answers /hello/ only; the module's own "/" is meant by /hello, too.
            mounts.append(Route(paths[name], Rooted(app, paths[name])))
        mounts.append(Mount(paths[name], app))
    return mounts


class Rooted:
    """Gives a request for exactly the path of a mount to its application, as a request for `/` in it."""

    def __init__(self, app: Any, path: str) -> None:
        self.app = app
        self.path = path

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Run the application."""
        root = scope.get("root_path", "") + self.path
        await self.app({**scope, "root_path": root, "path": root + "/"}, receive, send)


async def health(request: Request) -> Response:
    """200 while the process answers; the supervisor's probe."""
    return PlainTextResponse("ok\n")


def http_error(pages: Pages, request: Request, error: Exception) -> Response:
    """A clear page for 404, 405 and the like."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else ""
    if status == 404:
        return pages.error(404, "Nothing here", f"No module answers at {request.url.path}.")
    response = pages.error(status, detail or "That did not work", f"The request was answered with {status}.")
    headers = error.headers if isinstance(error, HTTPException) else None
    response.headers.update(headers or {})
    return response


def on_terminate(wake: Any) -> Any:
    """Call `wake` at SIGTERM and SIGINT before the server's own handler; returns how to undo that.

    The server waits for open requests, and event streams end only when somebody tells them to.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    earlier = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def handle(number: int, frame: FrameType | None) -> None:
        wake()
        previous = earlier[signal.Signals(number)]
        if callable(previous):
            previous(number, frame)
        elif previous == signal.SIG_DFL:
            sys.exit(128 + number)

    for number in earlier:
        signal.signal(number, handle)

    def restore() -> None:
        for number, previous in earlier.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, previous)

    return restore
