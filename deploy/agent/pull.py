"""The child's side of a relay: a blob is fetched from another host, from where it broke off, and checked."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.agent import blobs, durable
from deploy.agent.errors import AgentError
from deploy.agent.relay import Request

if TYPE_CHECKING:
    import ssl

CHUNK = 1 << 18
CONNECT_TIME = 3.0
"""Seconds for a connection: a host of another network drops what comes, and there are other ways."""
SILENCE = 10.0
"""Seconds without a byte after which a relay is given up."""
UNREACHABLE = 12
"""Exit code of lib/errors.py's UnreachableError: another way may do."""


@dataclass(frozen=True)
class Source:
    """A relay: where it is, what it takes, and the certificate that it must have (PEM)."""

    address: str
    port: int
    token: str
    certificate: str


def pull(source: Source, path: Path, sha256: str, size: int, seconds: float) -> int:
    """Have `path` be the whole blob; how many bytes of it are here. What arrived before stays.

    Raises: AgentError where the relay cannot be reached, or is too slow; or where the blob is not what was
    signed, and is removed then.
    """
    durable.make_folder(path.parent)
    have = path.stat().st_size if path.exists() else 0
    if have < size:
        with durable.storage(path), path.open("ab") as stream:
            os.fchmod(stream.fileno(), 0o600)
            for data in _received(source, Request(source.token, sha256, have), size - have, seconds):
                have += stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    if have < size:
        raise _gone(source, f"it sent no more than {have} bytes of {size}")
    blobs.check_blob(path, sha256)
    return have


def _received(source: Source, request: Request, wanted: int, seconds: float) -> Iterator[bytes]:
    """What the relay sends: no more than is wanted, and no longer than `seconds`."""
    until = time.monotonic() + seconds
    try:
        with socket.create_connection((source.address, source.port), CONNECT_TIME) as connection:
            connection.settimeout(SILENCE)
            with _context(source.certificate).wrap_socket(connection) as relay:
                relay.sendall(request.encode())
                while wanted and (data := relay.recv(min(CHUNK, wanted))):
                    yield data
                    wanted -= len(data)
                    if wanted and time.monotonic() > until:
                        raise _gone(source, f"it is too slow: {wanted} bytes are left after {seconds:.0f} s")
    except OSError as error:
        raise _gone(source, error.strerror or str(error)) from error


def _gone(source: Source, why: str) -> AgentError:
    return AgentError(f"relay {source.address}: {why}", "", UNREACHABLE)


def _context(certificate: str) -> ssl.SSLContext:
    """Only the one that has this certificate will do, whatever name it has.

    Raises: AgentError.
    """
    import ssl  # here, since it is slow to load

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    try:
        context.load_verify_locations(cadata=certificate)
    except (ssl.SSLError, ValueError) as error:
        raise AgentError(f"the relay's certificate is none: {error}", exit_code=2) from error
    return context
