"""Blobs that hosts hand on to each other: what may be asked of a host for it, checked field by field."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from typing import Any

from deploy.agent import blobs, durable, pull, relay, stage
from deploy.agent.errors import AgentError
from deploy.agent.layout import SHA256, Layout
from deploy.agent.manifest import Blob, Manifest

USAGE, REFUSED, MISSING = 2, 11, 5
MOST_CHILDREN = 16
MOST_BLOBS = 16
LONGEST = 3600
"""Seconds that a relay, or a pull, may be asked to last."""
LARGEST_CERTIFICATE = 16384
PORT = 65535
TOKEN = re.compile(r"^[0-9a-f]{64}\Z")


def serve(layout: Layout, request: dict[str, Any]) -> dict[str, Any]:
    """Serve blobs that are whole here: {"address", "port", "tokens"}.

    Raises: AgentError where one is not whole, or is damaged (it is removed then).
    """
    sha256s = request.get("sha256s")
    if not isinstance(sha256s, list) or not 0 < len(sha256s) <= MOST_BLOBS:
        raise AgentError("the request's sha256s is no list", "", USAGE)
    children, seconds = _number(request, "children", MOST_CHILDREN), _number(request, "ttl", LONGEST)
    certificate = _text(request, "certificate")
    _, manifest = stage.staged(layout)
    files = {}
    for sha256 in sha256s:
        blob, path = _blob(manifest, sha256), layout.blob(sha256)
        if not path.is_file() or path.stat().st_size != blob.size:
            raise AgentError(f"the blob {sha256[:16]} is not here", "", MISSING)
        blobs.check_blob(path, sha256)
        files[sha256] = path
    with durable.storage(layout.blobs):
        one = relay.Relay(files, children, certificate, seconds, relay.own_address())
    one.start()
    return {"address": one.address, "port": one.port, "tokens": one.tokens}


def fetch(layout: Layout, request: dict[str, Any]) -> dict[str, Any]:
    """Fetch a blob of the release under way from a relay: {"have"}.

    Raises: AgentError; exit code 12 where another way may do, 11 where the relay sent what was not signed.
    """
    sha256, token = request.get("sha256"), request.get("token")
    if not isinstance(token, str) or not TOKEN.match(token):
        raise AgentError("the request's token is none", "", USAGE)
    source = pull.Source(
        _address(request), _number(request, "port", PORT), token, _text(request, "certificate")
    )
    _, manifest = stage.staged(layout)
    blob = _blob(manifest, sha256)
    seconds = _number(request, "seconds", LONGEST)
    return {"have": pull.pull(source, layout.blob(str(sha256)), str(sha256), blob.size, seconds)}


def _blob(manifest: Manifest, sha256: object) -> Blob:
    if not isinstance(sha256, str) or not SHA256.match(sha256):
        raise AgentError("the request's sha256 is none", "", USAGE)
    blob = manifest.blobs.get(sha256)
    if blob is None:
        raise AgentError(f"the blob {sha256[:16]} is not in the manifest", "", REFUSED)
    return blob


def _address(request: dict[str, Any]) -> str:
    """An address in figures: no name is looked up for whoever asks."""
    address = _text(request, "address")
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError, ValueError):
            socket.inet_pton(family, address)
            return address
    raise AgentError("the request's address is none", "", USAGE)


def _number(request: dict[str, Any], key: str, most: int) -> int:
    value = request.get(key)
    if type(value) is not int or not 1 <= value <= most:
        raise AgentError(f"the request's {key} is no number from 1 to {most}", "", USAGE)
    return value


def _text(request: dict[str, Any], key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str) or len(value) > LARGEST_CERTIFICATE:
        raise AgentError(f"the request's {key} is no text", "", USAGE)
    return value
