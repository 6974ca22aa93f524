"""Requests signed with a shared secret: making, checking and sending them (docs/signed-requests.md).

    Authorization: AMPZERO-HMAC-SHA256 key=ID,time=UNIX,nonce=HEX,signature=HEX

The signature is HMAC-SHA256 over `METHOD\\nPATH?QUERY\\nTIME\\nNONCE\\nHEX(SHA256(BODY))`. A request is good
for WINDOW seconds around its time, once. Imports the standard library and lib.errors only, so that it can
be copied beside an application that runs elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import re
import secrets
import select
import socket
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from lib.errors import AmpzeroError, ConfigError, DiskFullError, MissingError, NotRunningError, StorageError

SCHEME = "AMPZERO-HMAC-SHA256"
WINDOW = 300
"""Seconds that the clocks of the two sides may differ by."""
CAPACITY = 2_000_000
"""Nonces remembered at most; a flood beyond it is refused, never forgotten."""
PRUNE_EVERY = 10
"""Seconds between two sweeps of nonces that are too old to matter."""
MAX_RESPONSE = 16 * 1024 * 1024
"""Bytes of an answer that a client reads into memory at most."""
HEADER = re.compile(
    SCHEME + r" key=(?P<key>[A-Za-z0-9._-]{1,64}),time=(?P<time>[0-9]{1,12}),"
    r"nonce=(?P<nonce>[0-9a-f]{32}),signature=(?P<signature>[0-9a-f]{64})"
)
HEADER_LIMIT = 300
SECRET = re.compile(r"[0-9a-f]{64}")


class SignatureError(AmpzeroError):
    """A request is not signed as it should be; `message` may be shown to the one who sent it."""


def read_secret(path: Path) -> bytes:
    """The secret in a file of 64 hex digits: the ASCII digits themselves, without white space around them.

    Raises: MissingError when it cannot be read, ConfigError when it holds something else.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(100).decode("ascii", "replace").strip()
    except OSError as error:
        raise MissingError(f"cannot read the secret file {path}: {error.strerror}") from error
    if not SECRET.fullmatch(text):
        raise ConfigError(f"{path}: not a secret of 64 hex digits")
    return text.encode()


def signature(secret: bytes, method: str, target: str, moment: str, nonce: str, body: bytes) -> str:
    """The hex signature; `target` is the path, and `?` and the query where there is one, as sent."""
    text = "\n".join((method, target, moment, nonce, hashlib.sha256(body).hexdigest()))
    return hmac.new(secret, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


class Signer:
    """Makes the Authorization header of requests, each with a nonce of its own."""

    def __init__(self, key_id: str, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        self.key_id = key_id
        self._secret = secret
        self._clock = clock

    def header(self, method: str, target: str, body: bytes = b"") -> str:
        """The value of the Authorization header for one sending of this request."""
        moment, nonce = str(int(self._clock())), secrets.token_hex(16)
        signed = signature(self._secret, method, target, moment, nonce, body)
        return f"{SCHEME} key={self.key_id},time={moment},nonce={nonce},signature={signed}"


class NonceStore(Protocol):
    """Remembers which nonces were used; safe to call from several threads."""

    def claim(self, key_id: str, nonce: str, expires: int, now: int) -> bool:
        """Take a nonce, to be remembered until the time `expires` has passed; False when it was taken before.

        Raises: SignatureError when it holds CAPACITY, StorageError (DiskFullError) when it cannot be kept.
        """
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


class MemoryNonces:
    """Nonces in memory. A restart forgets them: only for what does not outlive its process."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._taken: dict[tuple[str, str], int] = {}
        self._swept = 0
        self._lock = threading.Lock()

    def claim(self, key_id: str, nonce: str, expires: int, now: int) -> bool:
        """See NonceStore."""
        with self._lock:
            if now >= self._swept + PRUNE_EVERY or now < self._swept:
                self._taken = {item: end for item, end in self._taken.items() if end >= now}
                self._swept = now
            if (key_id, nonce) in self._taken:
                return False
            if len(self._taken) >= self._capacity:
                raise SignatureError("too many requests", "wait some minutes")
            self._taken[key_id, nonce] = expires
            return True

    def close(self) -> None:
        """See NonceStore."""


class SqliteNonces:
    """Nonces in an SQLite file: a replay is refused after a restart and after a SIGKILL as well.

    WAL with synchronous=NORMAL: what was committed survives the process. Only a power cut can lose the last
    moments of it, and then the sender's and the server's machines must be up again within WINDOW.
    """

    def __init__(self, path: Path, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._swept = 0
        with _nonce_errors(path):
            self._base = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
            path.chmod(0o600)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=NORMAL")
            self._base.execute(
                "CREATE TABLE IF NOT EXISTS nonces"
                " (key TEXT, nonce BLOB, expires INTEGER, PRIMARY KEY (key, nonce)) WITHOUT ROWID"
            )
            self._base.execute("CREATE INDEX IF NOT EXISTS nonces_expires ON nonces (expires)")
            self._count: int = self._base.execute("SELECT count(*) FROM nonces").fetchone()[0]
        self._path = path

    def claim(self, key_id: str, nonce: str, expires: int, now: int) -> bool:
        """See NonceStore."""
        with self._lock, _nonce_errors(self._path):
            if now >= self._swept + PRUNE_EVERY or now < self._swept:
                swept = self._base.execute("DELETE FROM nonces WHERE expires < ?", (now,))
                self._count -= swept.rowcount
                self._swept = now
            if self._count >= self._capacity:
                raise SignatureError("too many requests", "wait some minutes")
            row = (key_id, bytes.fromhex(nonce), expires)
            added = self._base.execute("INSERT OR IGNORE INTO nonces VALUES (?, ?, ?)", row).rowcount
            self._count += added
            return added == 1

    def close(self) -> None:
        """See NonceStore."""
        with self._lock:
            self._base.close()


@contextmanager
def _nonce_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors about `path` into StorageError."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
            raise DiskFullError(f"no room left for {path}", "free some space") from error
        raise StorageError(f"cannot keep nonces in {path}: {error}") from error


class Verifier:
    """Checks the Authorization header of requests against the secrets of known keys."""

    def __init__(self, secrets_by_key: Mapping[str, bytes], nonces: NonceStore,
                 clock: Callable[[], float] = time.time) -> None:  # fmt: skip
        self._secrets = dict(secrets_by_key)
        self._nonces = nonces
        self._clock = clock
        self._decoy = secrets.token_bytes(32)

    def verify(self, method: str, target: str, header: str | None, body: bytes) -> str:
        """The id of the key that signed this request. A nonce is taken only by a good signature.

        Raises: SignatureError; StorageError when the nonce cannot be kept.
        """
        if not header:
            raise SignatureError("the request is not signed", f"send Authorization: {SCHEME} ...")
        match = HEADER.fullmatch(header) if len(header) <= HEADER_LIMIT else None
        if match is None:
            raise SignatureError("the Authorization header is malformed", f"its scheme is {SCHEME}")
        key, moment, nonce = match["key"], match["time"], match["nonce"]
        now = int(self._clock())
        # An unknown key costs as much time as a known one, so that keys cannot be found by asking.
        secret = self._secrets.get(key, self._decoy)
        good = hmac.compare_digest(signature(secret, method, target, moment, nonce, body), match["signature"])
        if not good or key not in self._secrets:
            raise SignatureError("the signature is wrong", "check the key's id and secret")
        if abs(int(moment) - now) > WINDOW:
            raise SignatureError(f"the request's time is {int(moment) - now} s off", "set the clock")
        if not self._nonces.claim(key, nonce, int(moment) + WINDOW, now):
            raise SignatureError("the request was received before", "sign each sending anew")
        return key


@dataclass(frozen=True)
class Response:
    """An answer: `headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class SignedClient:
    """Sends signed requests to `base_url`: `http(s)://host:port` or `unix:/socket/path`.

    Keeps one connection; for one thread at a time. Never sends a request twice by itself.

    Raises: ConfigError for another kind of base URL.
    """

    def __init__(self, base_url: str, signer: Signer, timeout: float = 30.0) -> None:
        self.base_url = base_url
        self._signer = signer
        self._timeout = timeout
        self._connection: http.client.HTTPConnection | None = None
        self._connect()

    def _connect(self) -> http.client.HTTPConnection:
        if self.base_url.startswith("unix:/"):
            return _UnixConnection(self.base_url.removeprefix("unix:"), self._timeout)
        try:
            parts = urlsplit(self.base_url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or parts.scheme not in ("http", "https") or parts.path.strip("/") or parts.query:
            raise ConfigError(f"not a base URL: {self.base_url!r}", "http(s)://host:port or unix:/path")
        if parts.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=self._timeout, context=context)
        return http.client.HTTPConnection(host, port, timeout=self._timeout)

    def _drop_closed(self) -> None:
        """Close our side of a connection that the server has closed: it is readable without a request."""
        if self._connection is not None and self._connection.sock is not None:
            poll = select.poll()
            poll.register(self._connection.sock, select.POLLIN)
            if poll.poll(0):
                self._connection.close()

    def open(self, method: str, target: str, body: bytes = b"",
             headers: Mapping[str, str] | None = None) -> http.client.HTTPResponse:  # fmt: skip
        """Send a request and give the answer to be read as it comes; read it to its end, or close().

        Raises: NotRunningError when nobody listens, AmpzeroError when the connection breaks.
        """
        self._drop_closed()
        connection = self._connection = self._connection or self._connect()
        sent = {"Authorization": self._signer.header(method, target, body), **(headers or {})}
        try:
            connection.request(method, target, body or None, sent)
            return connection.getresponse()
        except (ConnectionRefusedError, FileNotFoundError) as error:
            self.close()
            raise NotRunningError(f"nothing listens at {self.base_url}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise AmpzeroError(f"no answer from {self.base_url}: {error or type(error).__name__}") from error

    def request(self, method: str, target: str, body: bytes = b"",
                headers: Mapping[str, str] | None = None) -> Response:  # fmt: skip
        """Send a request and read its whole answer, MAX_RESPONSE bytes at most.

        Raises: as `open`.
        """
        answer = self.open(method, target, body, headers)
        try:
            content = answer.read(MAX_RESPONSE + 1)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise AmpzeroError(f"the answer of {self.base_url} broke off: {error}") from error
        if len(content) > MAX_RESPONSE:
            self.close()
            raise AmpzeroError(f"the answer of {self.base_url} is larger than {MAX_RESPONSE} bytes")
        return Response(answer.status, {name.lower(): value for name, value in answer.getheaders()}, content)

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
