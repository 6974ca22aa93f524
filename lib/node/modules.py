"""Loads the application's modules from ampnode/services, each behind a wall of its own.

A module is a file services/NAME.py with `def routes(node) -> list[Route]`. Whatever goes wrong in one (a
syntax error, an exception at import, in `routes`, in a request) has its traceback in the log and a clear
page at the module's path; the other modules do not notice. Owns no routes of the runtime itself.
"""

from __future__ import annotations

import importlib
import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib.errors import AmpzeroError
from lib.node.node import Node
from lib.node.pages import Pages

PACKAGE = "services"
"""What the folder is called for imports: a module may say `from services import other`."""
log = logging.getLogger("ampnode")


def open_package(folder: Path) -> None:
    """Make `services` a package that is found in `folder` alone, whatever else is on sys.path."""
    for name in [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]:
        del sys.modules[name]
    package = ModuleType(PACKAGE)
    package.__path__ = [str(folder)]
    sys.modules[PACKAGE] = package
    importlib.invalidate_caches()


def open_libraries(folder: Path) -> None:
    """Let modules import the libraries that a release brings for them; the runtime's own come first."""
    if folder.is_dir() and str(folder) not in sys.path:
        sys.path.append(str(folder))


def load_module(name: str, node: Node, pages: Pages) -> ASGIApp:
    """The application of the module `name`; one that only shows the error where it cannot be loaded."""
    try:
        module = importlib.import_module(f"{PACKAGE}.{name}")
        return Guard(Router(checked(name, module.routes(node))), node, pages)
    except (Exception, SystemExit) as error:
        report(f"the module {name} could not be loaded", error)
        return Broken(error, node, pages)


def checked(name: str, routes: Any) -> Sequence[BaseRoute]:
    """What `routes(node)` returned, when it is a list of routes.

    Raises: AmpzeroError.
    """
    if not isinstance(routes, list | tuple) or not all(isinstance(route, BaseRoute) for route in routes):
        raise AmpzeroError(f"routes() of services/{name}.py must return a list of starlette.routing.Route")
    return routes


class Guard:
    """Turns an exception of one module's request into a traceback in the log and a clear page."""

    def __init__(self, app: ASGIApp, node: Node, pages: Pages) -> None:
        self.app = app
        self.node = node
        self.pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the module's application."""
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except HTTPException:
            raise  # an answer that the module chose, as 404: the runtime's own handler shows it
        except Exception as error:
            report(
                f"{scope.get('method', '')} {scope.get('path', '')}: the module {self.node.module} failed",
                error,
            )
            if started:
                return  # half an answer is out: the server breaks the connection off
            await Broken(error, self.node, self.pages)(scope, receive, send)


class Broken:
    """Answers every request with a page about `error`; with the traceback only when debugging."""

    def __init__(self, error: BaseException, node: Node, pages: Pages) -> None:
        self.error = error
        self.node = node
        self.pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the page, status 500."""
        response = self.pages.error(
            500,
            "This module has an error",
            f"The module {self.node.module} (ampnode/services/{self.node.module}.py) failed. "
            "The other modules are not affected.",
            hint=f"ampzero logs {self.node.name} {self.node.process.rpartition('.')[0]}",
            traceback=trace(self.error) if self.node.debug else "",
        )
        await response(scope, receive, send)


def report(what: str, error: BaseException) -> None:
    """Write the traceback to the log, which is the process's stderr."""
    log.error("%s\n%s", what, trace(error).rstrip())


def trace(error: BaseException) -> str:
    """The traceback as Python prints it, with the hint of an error of ours."""
    hint = f"hint: {error.hint}\n" if isinstance(error, AmpzeroError) and error.hint else ""
    return "".join(traceback.format_exception(error)) + hint
