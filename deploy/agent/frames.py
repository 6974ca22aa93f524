"""The frames of a channel: two lengths (u32, big-endian), a JSON object, a body of any bytes.

Foreign bytes on both sides: every length has a bound that is checked before anything is read, and
whatever is not a frame is a FrameError.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from deploy.agent.errors import AgentError

LENGTHS = struct.Struct(">II")
MAX_HEADER = 1 << 20
"""Bytes: a signed manifest of a thousand hosts is in one header."""
MAX_BODY = 1 << 20


class FrameError(AgentError):
    """What arrived, or was to be sent, is no frame: the channel is of no more use."""


class Frame(NamedTuple):
    """One message of either side."""

    header: dict[str, Any]
    body: bytes


def encode(header: dict[str, Any], body: bytes = b"") -> bytes:
    """The bytes of a frame.

    Raises: FrameError where it is too long, or `header` is not JSON.
    """
    try:
        text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise FrameError(f"a message that is not JSON: {error}") from error
    if len(text) > MAX_HEADER or len(body) > MAX_BODY:
        raise FrameError(f"a message of {len(text)} and {len(body)} bytes is too long")
    return LENGTHS.pack(len(text), len(body)) + text + body


def read(receive: Callable[[int], bytes]) -> Frame | None:
    """The next frame; None where the other side ended. `receive(n)` gives 1 to n bytes, none at the end.

    Raises: FrameError, and what `receive` raises.
    """
    first = receive(LENGTHS.size)
    if not first:
        return None
    header, body = LENGTHS.unpack(first + _exactly(receive, LENGTHS.size - len(first)))
    if header > MAX_HEADER or body > MAX_BODY:
        raise FrameError("what arrived is not a message: its length is out of bounds")
    return Frame(_object(_exactly(receive, header)), _exactly(receive, body))


def _exactly(receive: Callable[[int], bytes], size: int) -> bytes:
    parts = []
    while size:
        part = receive(size)
        if not part:
            raise FrameError("the other side ended in the middle of a message")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise FrameError("what arrived is not a message: no JSON") from error
    if not isinstance(found, dict):
        raise FrameError("what arrived is not a message: no JSON object")
    return found


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")
