"""Hubs of the tests: real ones, as processes; and servers that behave as no hub should."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from support import Ampzero, unused_port

from keys.hubclient.asking import Asking
from keys.hubclient.client import HubClient
from keys.hubclient.reference import Reference, parse_reference

LIFTED = tuple(word for name in ("register", "operate", "announce", "look", "host", "identity")
               for word in ("--rate", f"{name}=100000/1"))  # fmt: skip
"""Options without which all that a module's tests ask is too much for one address."""
Speak = Callable[[socket.socket, str], None]


@contextmanager
def bad_server(speak: Speak) -> Iterator[str]:
    """The URL of a server that hands every connection to `speak`, with the request's first line."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)
    ended = threading.Event()
    threads: list[threading.Thread] = []

    def one(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(20)
            head = b""
            while b"\r\n" not in head:
                got = connection.recv(4096)
                if not got:
                    return
                head += got
            speak(connection, head.split(b"\r\n")[0].decode(errors="replace"))

    def accept() -> None:
        while not ended.is_set():
            with suppress(TimeoutError):
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=one, args=(connection,), daemon=True))
                threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        acceptor.join()
        listener.close()
        for thread in threads:
            thread.join(60)


def answer(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    """A whole HTTP answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


@dataclass
class Served:
    """A hub that runs as a process of its own."""

    process: subprocess.Popen[str]
    reference: Reference
    port: int
    folder: Path
    said: Path
    """What it wrote about its work."""

    @property
    def url(self) -> str:
        """Where it listens, without TLS."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, url: str = "", *, patience: float = 0.0) -> HubClient:
        """A client of this hub, over `url` where it is another."""
        asking = Asking(url or self.reference.url, patience=patience)
        return HubClient.connect(Reference(asking.url, self.reference.fingerprint), asking)

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """One plain request: the status, the headers (in small letters), the body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(
                method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
            )
            got = connection.getresponse()
            return got.status, {name.lower(): value for name, value in got.getheaders()}, got.read()
        finally:
            connection.close()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal and wait for its end."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def serving(folder: Path, *options: str | Path, port: int = 0) -> Iterator[Served]:
    """A hub on the data in `folder`, ended at the end."""
    port = port or unused_port()
    said = folder.with_name(f"{folder.name}.said")
    argv = [Ampzero().path, "hub", "serve", "--data", str(folder), "--listen", f"127.0.0.1:{port}"]
    with said.open("a") as stream:
        process = subprocess.Popen(
            [*argv, *map(str, options)], stdout=subprocess.PIPE, stderr=stream, text=True
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        assert line, said.read_text()
        yield Served(process, parse_reference(line), port, folder, said)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()


Tamper = Callable[[str, int, bytes], bytes]


@contextmanager
def liar(hub: Served, tamper: Tamper) -> Iterator[str]:
    """The URL of a server that hands requests to `hub` and answers with what `tamper(request line, status,
    body)` makes of its answers."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length) if length else None
            status, _, raw = hub.ask(self.command, self.path, body)
            try:
                raw = tamper(f"{self.command} {self.path}", status, raw)
            except Status as other:
                status, raw = other.args
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(raw)

        do_GET = do_POST = do_PUT = handle_any

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Status(Exception):
    """Raised by a tamper function to answer with another status: (status, body)."""
