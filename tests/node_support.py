"""Helpers of the node runtime's tests: a folder of an application, requests without and with a socket."""

from __future__ import annotations

import asyncio
import http.client
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from lib.node.settings import NodeSettings

HOST = "localhost:8443"


@dataclass
class Answer:
    """What a request got: status, headers by lower-case name, body."""

    status: int
    headers: dict[str, str]
    text: str
    messages: list[Any] = field(default_factory=list)

    @property
    def cookie(self) -> str:
        """The `name=value` that was set."""
        return self.headers["set-cookie"].partition(";")[0]


def make_application(folder: Path, config: str = "", **modules: str) -> NodeSettings:
    """An instance folder with ampnode.yaml, the modules' sources, and a var folder beside it."""
    application = folder / "instance" / "ampnode"
    (application / "services").mkdir(parents=True)
    (application / "templates").mkdir()
    (application / "ampnode.yaml").write_text(config)
    for name, source in modules.items():
        (application / "services" / f"{name}.py").write_text(source)
    var = folder / "var"
    (var / "state").mkdir(parents=True)
    (var / "logs").mkdir()
    return NodeSettings("demo", folder / "instance", var, var / "control.sock", var / "events.sock", {})


def ask(app: Any, method: str, target: str, form: Mapping[str, str] | None = None,
        **headers: str) -> Answer:  # fmt: skip
    """One request to the ASGI application, without a server; header names have `_` for `-`."""
    body = urlencode(form).encode() if form is not None else b""
    given = {"host": HOST} | {name.replace("_", "-"): value for name, value in headers.items()}
    if form is not None:
        given.setdefault("content-type", "application/x-www-form-urlencoded")
    path, _, query = target.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
        "method": method, "scheme": "https", "path": path, "raw_path": path.encode(), "root_path": "",
        "query_string": query.encode(), "client": None, "server": ("localhost", 8443),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }  # fmt: skip
    messages: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    asyncio.run(app(scope, receive, send))
    start = next(message for message in messages if message["type"] == "http.response.start")
    found = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    text = b"".join(message.get("body", b"") for message in messages).decode()
    return Answer(start["status"], found, text, messages)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float = 30) -> None:
        super().__init__(HOST, timeout=timeout)
        self.path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def fetch(path: Path, method: str, target: str, form: Mapping[str, str] | None = None,
          **headers: str) -> Answer:  # fmt: skip
    """One request to the server at the unix socket `path`."""
    connection = UnixConnection(path)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if form is not None:
        given.setdefault("content-type", "application/x-www-form-urlencoded")
    try:
        connection.request(method, target, urlencode(form) if form is not None else None, given)
        response = connection.getresponse()
        text = response.read().decode()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, text)
    finally:
        connection.close()


def token_of(link: str) -> str:
    """The token in a one-time link."""
    return urlsplit(link).fragment
