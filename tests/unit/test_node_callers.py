"""Other instances in the node runtime: known by the contact process's signature, and shown modules alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from node_support import ask, make_application

from lib.contact import token
from lib.contact.token import Caller
from lib.errors import MissingError
from lib.node.app import create_app
from lib.node.settings import NodeSettings

SECRET = b"5" * 64
WHO = Caller("host-7", "A" * 43 + "=", "user-23", "B" * 43 + "=")
MODULE = """
from starlette.responses import PlainTextResponse
from starlette.routing import Route

def routes(node):
    async def page(request):
        assert node.caller(request) is request.state.caller
        return PlainTextResponse(str(request.state.caller and request.state.caller.id))

    async def reach(request):
        await node.call("host-7", "/")

    return [Route("/", page), Route("/reach", reach)]
"""
CONFIG = "modules:\n  who: {path: /who}\n"


def application(folder: Path, *, contact: bool = True) -> Any:
    settings = make_application(folder, CONFIG, who=MODULE)
    secret = folder / "contact.secret"
    secret.write_bytes(SECRET + b"\n")
    given = {"CONTACT_SECRET_FILE": str(secret)} if contact else {}
    return create_app(NodeSettings(**{**vars(settings), "environment": given}))


def said(app: Any, ampzero_caller: str = "") -> str:
    """Who calls /who, as its module sees it."""
    return ask(app, "GET", "/who", ampzero_caller=ampzero_caller).text


def test_a_caller_is_data_and_a_browser_is_none(tmp_path: Path) -> None:
    app = application(tmp_path)
    assert said(app) == "None"
    assert said(app, ampzero_caller=token.write(WHO, SECRET)) == "host-7"


def test_a_callers_name_that_anybody_could_have_written(tmp_path: Path) -> None:
    app = application(tmp_path)
    changed = token.write(replace(WHO, id="host-8"), SECRET).replace("host-8", "host-7")
    late = token.write(WHO, SECRET, now=1000.0)
    for value in ("host-7", token.write(WHO, b"6" * 64), late, changed, ""):
        assert said(app, ampzero_caller=value) == "None", value


def test_without_a_contact_process_nobody_is_a_caller(tmp_path: Path) -> None:
    app = application(tmp_path, contact=False)
    assert said(app, ampzero_caller=token.write(WHO, SECRET)) == "None"
    assert said(app, ampzero_caller=token.write(WHO, b"")) == "None"


@pytest.mark.parametrize(
    "path", ["/", "/login", "/healthz", "/_ampzero/status", "/_ampzero/static/console.js"]
)
def test_a_caller_reaches_modules_and_nothing_else(tmp_path: Path, path: str) -> None:
    app = application(tmp_path)
    assert ask(app, "GET", path).status in (200, 401)
    assert ask(app, "GET", path, ampzero_caller=token.write(WHO, SECRET)).status == 404


def test_a_call_without_a_contact_process_says_what_is_missing(tmp_path: Path) -> None:
    settings = make_application(tmp_path, CONFIG, who=MODULE)
    app = create_app(settings)
    assert ask(app, "GET", "/who/reach").status == 500
    from lib.node.node import Node, Parts
    from lib.node.session import Sessions

    node = Node(Parts(settings, {}, Sessions(settings.state, 60)), "who", "/who", {})
    with pytest.raises(MissingError, match="no contact process"):
        asyncio.run(node.call("host-7"))
