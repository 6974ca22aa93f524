"""Serving the hub at a TCP port until SIGTERM: uvicorn, with httptools and uvloop where they are installed.

SIGHUP reads the certificate's files again, for new connections; open requests get GRACE seconds at the end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import uvicorn

from keys.hubserver.app import App
from keys.hubserver.patience import patient
from lib.errors import MissingError, StorageError, TakenError, UsageError

GRACE = 10
BACKLOG = 2048
AT_ONCE = 4096
"""Connections; above it uvicorn answers 503 itself."""
KEEP_ALIVE = 30


def parse_address(text: str) -> tuple[str, int]:
    """The host and port of `127.0.0.1:8150` or `[::1]:8150`.

    Raises: UsageError.
    """
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise UsageError(f"{text[:60]!r} is not an address to listen at", "as 127.0.0.1:8150 or [::]:8150")
    return host.removeprefix("[").removesuffix("]"), int(port)


def listen(host: str, port: int) -> tuple[socket.socket, tuple[str, int]]:
    """A socket that listens at `host` (an address or a name) and `port` (0: any), and its real address.

    Raises: TakenError, StorageError.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        if isinstance(error, PermissionError):
            raise StorageError(
                f"may not listen at {host}:{port}", "ports below 1024 need root: use another, or a proxy"
            ) from error
        raise TakenError(
            f"cannot listen at {host}:{port}: {os.strerror(error.errno) if error.errno else error}",
            "who has it: ss -ltnp",
        ) from error
    listener.setblocking(False)
    bound: tuple[str, int] = listener.getsockname()[:2]
    return listener, bound


def check_files(certificate: Path, key: Path) -> None:
    """The two TLS files are there and belong together.

    Raises: MissingError, UsageError.
    """
    for path in (certificate, key):
        if not path.is_file():
            raise MissingError(f"no file {path}", "both as PEM: --tls-certificate FILE --tls-key FILE")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise UsageError(
            f"{certificate} and {key} cannot be used: {error}", "is it the key of this certificate?"
        ) from error


def serve(
    app: App, listener: socket.socket, tls: tuple[Path, Path] | None = None,
    started: Callable[[], None] = lambda: None, problem: Callable[[str], None] = lambda _: None,
) -> None:  # fmt: skip
    """Serve `app` at `listener` until SIGTERM or SIGINT. `started` is called when requests are answered,
    `problem` with what is wrong with renewed TLS files.

    Raises: MissingError, UsageError.
    """
    if tls:
        check_files(*tls)
    config = uvicorn.Config(
        app, http="auto", ws="none", loop="auto", lifespan="off", log_config=None, log_level="warning",
        access_log=False, server_header=False, proxy_headers=False, timeout_graceful_shutdown=GRACE,
        timeout_keep_alive=KEEP_ALIVE, backlog=BACKLOG, limit_concurrency=AT_ONCE,
        h11_max_incomplete_event_size=16 * 1024,
        ssl_certfile=tls[0] if tls else None, ssl_keyfile=str(tls[1]) if tls else None,
    )  # fmt: skip
    config.load()
    config.http_protocol_class = patient(config.http_protocol_class)

    class Server(uvicorn.Server):
        """uvicorn's server, which tells when it listens and reads its certificate again."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if tls and config.ssl:
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, again, config.ssl, *tls)
            started()

    def again(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
        try:
            check_files(certificate, key)  # load_cert_chain could leave half of a bad pair in the context
            context.load_cert_chain(certificate, key)
        except (MissingError, UsageError, OSError) as error:
            problem(str(error))

    # uvicorn raises a caught signal again when it is done; to us a graceful end is a success.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        Server(config).run(sockets=[listener])
    finally:
        listener.close()
