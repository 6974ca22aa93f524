"""Instances of the contact process's tests that really run, and the hub that they share."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from running_support import Running
from support import Ampzero, unused_port, wait_for

WHO = """
from dataclasses import asdict
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

def routes(node):
    async def who(request):
        caller = request.state.caller
        assert caller == node.caller(request)
        body = await request.body()
        return JSONResponse({
            "me": node.keys.host.id, "caller": asdict(caller) if caller else None, "method": request.method,
            "path": request.url.path, "query": request.url.query, "bytes": len(body),
            "word": request.headers.get("x-word", ""),
        })

    async def relay(request):
        answer = await node.call(request.query_params["to"], "/who/deep?x=%20y", json={"a": 1}, method="PUT",
                                 headers={"X-Word": "hello"})
        return JSONResponse(answer.json(), answer.status)

    async def friends(request):
        caller = request.state.caller
        if caller is None or caller.owner != request.query_params["friend"]:
            return PlainTextResponse("not for you", 403)
        return PlainTextResponse("welcome")

    return [Route("/relay", relay), Route("/friends", friends),
            Route("/{rest:path}", who, methods=["GET", "PUT", "POST"])]
"""


@dataclass
class Called(Running):
    """An instance that may be called; `port` is its own, the one for other instances is three above."""

    port: int = 0

    def start(self, *options: str, **more: Any) -> Called:
        """Run it; it must become ready."""
        super().start(*options, **more)
        return self

    @property
    def socket(self) -> Path:
        """That of the contact process."""
        return Path(self.status()["sockets"]["control"]).with_name("contact.sock")

    @property
    def id(self) -> str:
        """As host-7."""
        found = next((self.folder / "ampnode").glob("host-*.public.key"))
        return found.name.removesuffix(".public.key")

    @property
    def owner(self) -> str:
        """As user-7."""
        found = next((self.folder / "ampnode").glob("user-*.public.key"))
        return found.name.removesuffix(".public.key")

    def hub(self) -> dict[str, Any]:
        """What the status says about the hub."""
        found: dict[str, Any] = self.status()["hub"]
        return found

    def until_hub(self, state: str, seconds: float = 30) -> dict[str, Any]:
        """Wait until the status says so of the hub."""
        self.until(lambda: self.hub()["state"] == state, seconds)
        return self.hub()

    def configure(self, contact: str, more: str = "") -> None:
        """Write an amprun.yaml with this `contact:`."""
        (self.folder / "amprun.yaml").write_text(
            f"name: {self.folder.name}\namprun_root_directory: {self.root}\nport: {self.port}\n"
            f"contact: {contact}\n{more}services:\n  ampnode: {{}}\n  nginx: {{}}\n"
        )


def make_called(
    ampzero: Ampzero, folder: Path, name: str, *, init: tuple[str, ...] = (),
    contact: str = "{enabled: true}", env: Mapping[str, str] | None = None,
) -> Called:  # fmt: skip
    """A new instance `name` in `folder` with a module at /who."""
    root, port = folder / f"{name}-var", unused_port()
    done = ampzero("init", name, "--yes", "--dir", folder, "--set", f"port={port}", "--set", f"root={root}",
                   *init, env=env)  # fmt: skip
    assert done.code == 0, done
    made = Called(ampzero, folder / name, root, port)
    made.configure(contact)
    (made.folder / "ampnode/services/who.py").write_text(WHO)
    (made.folder / "ampnode/ampnode.yaml").write_text("modules:\n  who: {}\n")
    return made


class HubProcess:
    """`ampzero hub serve` in a folder, at a port of the loopback that stays."""

    def __init__(self, ampzero: Ampzero, data: Path) -> None:
        self.ampzero, self.data, self.port = ampzero, data, unused_port()
        self.process: subprocess.Popen[str] | None = None
        self.reference = ""

    def start(self) -> None:
        """Serve; returns when it does."""
        url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [self.ampzero.path, "hub", "serve", "--data", str(self.data), "--listen",
             f"127.0.0.1:{self.port}", "--url", url, "--origin", "hub.test"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert "#" in line, line
        self.reference = line.split()[-1]
        stream = self.process.stdout
        threading.Thread(target=lambda: stream.read(), daemon=True).start()

        def up() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        assert wait_for(up)

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
            self.process = None


@contextmanager
def ending(*running: Running) -> Iterator[None]:
    """End these, whatever happens."""
    try:
        yield
    finally:
        for one in running:
            one.end()


Make = Callable[..., Called]


def kill_nine(pid: int) -> None:
    """What no process can prepare for."""
    os.kill(pid, signal.SIGKILL)
