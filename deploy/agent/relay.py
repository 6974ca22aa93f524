"""A host hands on what it has: blobs that are whole and verified, to a few others, for a while.

One TCP port with TLS, by the certificate that the deploy made for itself. The other side says one line

    ampzero-relay-1 <token> <sha256> <offset>

and gets the blob's bytes from there to its end, or nothing where it is not welcome. A token comes to its
child over that child's own channel, and is good once for each blob. It all ends with the time that was
given, or with the agent. No child trusts a relay: what it gets is checked against the signed manifest.
"""

from __future__ import annotations

import hmac
import os
import re
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from deploy.agent.errors import AgentError

if TYPE_CHECKING:
    import ssl

REQUEST = re.compile(rb"ampzero-relay-1 ([0-9a-f]{64}) ([0-9a-f]{64}) ([0-9]{1,15})\n\Z")
LONGEST = 170
"""Bytes of a request, its line feed included; the longest that `REQUEST` matches has 162."""
CHUNK = 1 << 18
ASK_TIME = 10.0
"""Seconds for a child to shake hands and to ask."""
SPARE = 4
"""Connections beyond one a child: what else finds the port must not keep children out."""


class Request(NamedTuple):
    """What a child asks for."""

    token: str
    sha256: str
    offset: int

    @classmethod
    def parse(cls, line: bytes) -> Request:
        """The request in `line`.

        Raises: AgentError.
        """
        found = REQUEST.match(line)
        if found is None:
            raise AgentError("not a request to a relay")
        return cls(found[1].decode(), found[2].decode(), int(found[3]))

    def encode(self) -> bytes:
        """The line that says it."""
        return f"ampzero-relay-1 {self.token} {self.sha256} {self.offset}\n".encode()


class Tokens:
    """Who may have what: each token once for each blob."""

    def __init__(self, children: int, sha256s: list[str]) -> None:
        self.tokens = [os.urandom(32).hex() for _ in range(children)]
        self._left = {token: set(sha256s) for token in self.tokens}
        self._lock = threading.Lock()

    def use(self, token: str, sha256: str) -> bool:
        """Whether this one may have this blob now; not again."""
        with self._lock:
            # Each is compared, in the same time whatever is alike: nothing is learnt by trying.
            found = [known for known in self._left if hmac.compare_digest(known, token)]
            if not found or sha256 not in self._left[found[0]]:
                return False
            self._left[found[0]].remove(sha256)
            return True


class Relay:
    """Serves `files`, by SHA-256, to `children` others from `address` for `seconds`.

    Raises: AgentError where `certificate` (PEM, with its key) is none; OSError for the port.
    """

    def __init__(self, files: Mapping[str, Path], children: int, certificate: str, seconds: float,
                 address: str) -> None:  # fmt: skip
        self._files = dict(files)
        self._context = _context(certificate)
        self._until = time.monotonic() + seconds
        self._seats = threading.BoundedSemaphore(children + SPARE)
        self._tokens = Tokens(children, list(files))
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, 0), family=family, backlog=children + SPARE)
        self.address = address
        self.port = int(self._listener.getsockname()[1])

    @property
    def tokens(self) -> list[str]:
        """One for each child."""
        return self._tokens.tokens

    def start(self) -> None:
        """Begin, in a thread that ends with this process."""
        threading.Thread(target=self._listen, name="relay", daemon=True).start()

    def _listen(self) -> None:
        with self._listener:
            while (left := self._until - time.monotonic()) > 0:
                self._listener.settimeout(left)
                try:
                    connection, _ = self._listener.accept()
                except TimeoutError:
                    return
                except OSError:
                    time.sleep(0.1)  # no descriptor is left, or the child is gone again: the next may come
                    continue
                if not self._seats.acquire(blocking=False):
                    connection.close()
                    continue
                threading.Thread(target=self._serve, args=(connection,), name="relay", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, suppress(AgentError, OSError):
                connection.settimeout(ASK_TIME)
                with self._context.wrap_socket(connection, server_side=True) as child:
                    self._answer(child)
        finally:
            self._seats.release()

    def _answer(self, child: socket.socket) -> None:
        request = Request.parse(_line(child))
        path = self._files.get(request.sha256)
        if path is None or not self._tokens.use(request.token, request.sha256):
            return
        with path.open("rb") as stream:
            stream.seek(request.offset)
            while data := stream.read(CHUNK):
                child.settimeout(max(0.01, self._until - time.monotonic()))
                child.sendall(data)


def own_address() -> str:
    """The address of this host by which the coordinator came; without sshd only this machine can."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    return words[2] if len(words) == 4 else "127.0.0.1"


def _line(child: socket.socket) -> bytes:
    """What it says until a line feed, or as much as is bearable."""
    said = b""
    until = time.monotonic() + ASK_TIME
    while len(said) < LONGEST and not said.endswith(b"\n") and time.monotonic() < until:
        part = child.recv(LONGEST - len(said))
        if not part:
            break
        said += part
    return said


def _context(certificate: str) -> ssl.SSLContext:
    import ssl  # here, since it is slow to load and few agents are relays

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # OpenSSL takes a key from a file only, and this one need never be on a disk.
    handle = os.memfd_create("ampzero-relay")
    try:
        os.write(handle, certificate.encode())
        context.load_cert_chain(f"/proc/self/fd/{handle}")
    except (ssl.SSLError, ValueError) as error:
        raise AgentError(f"the relay's certificate is none: {error}", exit_code=2) from error
    finally:
        os.close(handle)
    return context
