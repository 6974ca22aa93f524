"""TLS in tests: what a server shows, requests without a pause, and certificates that are about to be due."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from keys.tls.authority import Authority
from keys.tls.leaf import ADDRESSES, Pair, beside

SITE = "name: site\namprun_root_directory: {root}\nport: {port}\n{more}services:\n  nginx: {{}}\n"
"""An instance of nginx and its files alone."""


def site(folder: Path, port: int, more: str = "") -> Path:
    """The folder of an instance of nginx alone, whose page says hello."""
    directory = folder / "site"
    (directory / "nginx/www").mkdir(parents=True)
    (directory / "nginx/www/index.html").write_text("hello")
    (directory / "amprun.yaml").write_text(SITE.format(root=folder / "root", port=port, more=more))
    return directory


def made_ago(certificate: Path, ago: timedelta, ca: Path | None = None) -> Pair:
    """A leaf of the local CA, as it would be if it had been issued so long ago, for 90 days."""
    pair = beside(certificate)
    authority = Authority.open(ca, now=lambda: datetime.now(UTC) - ago)
    authority.issue(*pair, ["localhost"], ADDRESSES)
    return pair


def due_in(seconds: float) -> timedelta:
    """How long ago a leaf was issued that is due in so many seconds."""
    return timedelta(days=60, minutes=-20, seconds=-seconds)


def shown(port: int, name: str = "localhost") -> x509.Certificate:
    """The certificate that a server on this machine shows for `name`, whoever signed it."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), 30) as plain,
        context.wrap_socket(plain, server_hostname=name) as one,
    ):
        raw = one.getpeercert(binary_form=True)
    assert raw is not None
    return x509.load_der_x509_certificate(raw)


class _Here(http.client.HTTPSConnection):
    """To this machine, whatever the name leads to."""

    def connect(self) -> None:
        plain = socket.create_connection(("127.0.0.1", self.port), self.timeout)
        self.sock = self._context.wrap_socket(plain, server_hostname=self.host)  # type: ignore[attr-defined]  # not in the stubs


class Load:
    """Requests without a pause, from several threads: on a connection for each, or on one that is kept.

    A kept connection that the server closes between two requests is opened anew, as every HTTP client does
    (RFC 9112, 9.3.1); that counts in `reopened`, and is no failure.
    """

    def __init__(self, port: int, ca: Path, name: str = "localhost") -> None:
        self.context = ssl.create_default_context(cafile=str(ca))
        self.port = port
        self.name = name
        self.answered = 0
        self.reopened = 0
        self.failures: list[str] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def one(self, connection: http.client.HTTPSConnection) -> None:
        """One request, which must be answered by hello."""
        connection.request("GET", "/")
        answer = connection.getresponse()
        body = answer.read()
        assert (answer.status, body) == (200, b"hello"), (answer.status, body[:80])
        with self._lock:
            self.answered += 1

    def _connect(self) -> http.client.HTTPSConnection:
        return _Here(self.name, self.port, timeout=30, context=self.context)

    def _alone(self) -> None:
        while not self._ended.is_set():
            connection = self._connect()
            try:
                self.one(connection)
            except Exception as error:
                self.failures.append(repr(error))
            finally:
                connection.close()

    def _kept(self) -> None:
        connection, fresh = self._connect(), True
        while not self._ended.is_set():
            try:
                self.one(connection)
                fresh = False
            except (http.client.RemoteDisconnected, ConnectionError, ssl.SSLEOFError) as error:
                if fresh:
                    self.failures.append(repr(error))
                self.reopened += 1
                connection, fresh = self._connect(), True
            except Exception as error:
                self.failures.append(repr(error))
                connection, fresh = self._connect(), True
        connection.close()

    @contextmanager
    def running(self) -> Iterator[Load]:
        """Until the end of the block."""
        threads = [threading.Thread(target=work) for work in (self._alone,) * 3 + (self._kept,) * 2]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            for thread in threads:
                thread.join(60)
