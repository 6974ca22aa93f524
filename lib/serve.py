"""An ASGI application on a unix socket of its own: loading it, and serving it until SIGTERM.

Owns the socket's life: its mode, a stale file in its place, its removal. uvicorn does the rest, with h11
(or httptools where that is installed) and asyncio's own loop: decision record 031.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import socket as sockets
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn

from lib.errors import AmpzeroError, ConfigError, MissingError, StorageError, TakenError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
"""An ASGI 3 application."""
FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START of sd_listen_fds(3)."""
GRACE = 3
"""Seconds that open requests (also endless ones, as event streams) get after SIGTERM."""
LAST_REQUESTS = 1.0
"""Seconds after SIGTERM in which a request may still come on a connection that is open already."""
KEEP_ALIVE = 75
BACKLOG = 512


def load(file: Path) -> Application:
    """The object `app` of the Python file, imported under its own name with its folder first on sys.path.

    The traceback of a failure goes to stderr, which is the service's log.

    Raises: MissingError, ConfigError.
    """
    if not file.is_file():
        raise MissingError(f"no application: {file} is missing", "ampzero init --clobber writes it again")
    sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None  # noqa: S101 -- true of every .py file
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)
    except AmpzeroError:
        raise
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        raise ConfigError(f"{_where(error, file)}: {type(error).__name__}: {error}") from error
    app = getattr(module, "app", None)
    if not callable(app):
        raise ConfigError(f"{file}: it defines no ASGI application called `app`")
    application: Application = app
    return application


def _where(error: BaseException, file: Path) -> str:
    """`file:line` of the innermost frame in the application's folder; a syntax error names its own."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    places = [
        f"{frame.filename}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(file.parent)
    ]
    return places[-1] if places else str(file)


def bind(path: Path) -> sockets.socket:
    """A listening 0600 unix socket at `path`; a stale file of an earlier server is replaced.

    Raises: TakenError when a server answers there, ConfigError for a path too long, StorageError.
    """
    probe = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
    try:
        probe.settimeout(1)
        probe.connect(str(path))
    except (ConnectionRefusedError, FileNotFoundError):
        pass
    except OSError as error:
        if "too long" in str(error):
            raise ConfigError(f"the socket's path is too long: {path}", "107 bytes at most") from error
        raise StorageError(f"cannot use the socket {path}: {error}") from error
    else:
        raise TakenError(f"another server listens at {path}")
    finally:
        probe.close()
    listener = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
    # The mode must be right from the first moment, so the umask makes it and not a later chmod.
    before = os.umask(0o177)
    try:
        if path.is_socket():
            path.unlink()
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StorageError(f"cannot make the socket {path}: {error}") from error
    finally:
        os.umask(before)
    return listener


def handed() -> sockets.socket | None:
    """The listening socket that the supervisor handed to this process (sd_listen_fds(3)), if it did."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        return None
    listener = sockets.socket(fileno=FIRST_DESCRIPTOR)
    listener.set_inheritable(False)
    return listener


def tell_ready() -> None:
    """Tell the supervisor that requests are answered from now on (sd_notify(3))."""
    if path := os.environ.get("NOTIFY_SOCKET", ""):
        with sockets.socket(sockets.AF_UNIX, sockets.SOCK_DGRAM) as to_supervisor, suppress(OSError):
            to_supervisor.connect(path)
            to_supervisor.send(b"READY=1")


def _is_idle(connection: Any) -> bool:
    """Whether no request is being answered on a connection of uvicorn's."""
    cycle = getattr(connection, "cycle", None)
    return cycle is None or bool(cycle.response_complete)


def serve(app: Application, socket: Path) -> None:
    """Serve `app` at the unix socket `socket` until SIGTERM or SIGINT; open requests get GRACE seconds.

    Raises: AmpzeroError when the application's start-up fails; what `bind` raises.
    """
    config = uvicorn.Config(
        app, http="auto", ws="none", loop="asyncio", lifespan="on", log_config=None, log_level="warning",
        access_log=False, server_header=False, proxy_headers=False, timeout_graceful_shutdown=GRACE,
        timeout_keep_alive=KEEP_ALIVE, backlog=BACKLOG,
    )  # fmt: skip
    given = handed()
    listener = given or bind(socket)
    made = 0 if given else socket.stat().st_ino

    class Server(uvicorn.Server):
        """uvicorn's server, which tells when it listens."""

        async def startup(self, sockets: list[sockets.socket] | None = None) -> None:
            """As uvicorn's."""
            await super().startup(sockets)
            if self.started:
                tell_ready()

        async def shutdown(self, sockets: list[sockets.socket] | None = None) -> None:
            """As uvicorn's, which closes a connection also when a request is on its way there: a client that
            may not ask twice would have no answer. New connections wait for the next process."""
            for server in self.servers:
                server.close()
            until = time.monotonic() + LAST_REQUESTS
            await asyncio.sleep(LAST_REQUESTS / 100)
            while any(map(_is_idle, self.server_state.connections)) and time.monotonic() < until:
                await asyncio.sleep(LAST_REQUESTS / 100)
            await super().shutdown(sockets)

    server = Server(config)

    async def until_end(scope: Message, receive: Receive, send: Send) -> None:
        """The application; a request that the end of the server cuts off is no error of its."""
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError:
            if not server.should_exit:
                raise

    config.app = until_end
    # uvicorn raises a caught signal again when it is done; to us a graceful end is a success.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        server.run(sockets=[listener])
    except SystemExit:
        pass  # newer uvicorns end so where older ones return: `started` tells it either way
    finally:
        listener.close()
        try:
            # The supervisor's socket stays: the next process answers on it.
            if made and socket.stat().st_ino == made:
                socket.unlink()
        except OSError:
            pass
    if not server.started:
        raise AmpzeroError("the application's start-up failed", "the lines above say why")
