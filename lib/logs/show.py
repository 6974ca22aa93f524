"""How a record looks: a line of text for people, a JSON object for machines."""

from __future__ import annotations

import base64
import json
import re
import time
import zlib
from collections.abc import Callable

from lib.logs.record import Record, unix

COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
"""SGR numbers; a service has the same one everywhere."""
UNSAFE = re.compile(rb"\x1b\[[0-9;:]*m|[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")
"""Control characters that could take a terminal over; colours (the first alternative) are let through."""


def as_json(record: Record) -> dict[str, object]:
    """The record as JSON. Bytes that are not UTF-8 become U+FFFD in `text`; `bytes` (base64) has all."""
    text = record.text.decode("utf-8", "replace")
    shown: dict[str, object] = {
        "time": record.time, "service": record.service, "process": record.number, "stream": record.stream,
        "sequence": record.sequence, "text": text,
    }  # fmt: skip
    if "\ufffd" in text and text.encode() != record.text:
        shown["bytes"] = base64.b64encode(record.text).decode()
    if record.partial:
        shown["partial"] = True
    return shown


def json_line(record: Record) -> bytes:
    """The record as one line of JSON, with its newline."""
    return json.dumps(as_json(record), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


class Text:
    """Records as `HH:MM:SS.mmm service.number | text`, in local time; with the date when that is not today's.

    `colour` is for a terminal: a colour a service, names padded to `width`, and no control characters but
    colours. Otherwise a record's bytes are given as they are.
    """

    def __init__(self, colour: bool, width: int = 0, clock: Callable[[], float] = time.time) -> None:
        self._colour = colour
        self._width = width
        self._clock = clock
        self._minute = ("", "")

    def __call__(self, record: Record) -> bytes:
        """The line, with its newline."""
        name = record.process if record.number else record.service
        when = self._local(record.time)
        if not self._colour:
            return f"{when} {name} | ".encode() + record.text + b"\n"
        text = UNSAFE.sub(
            lambda found: found[0] if found[0].endswith(b"m") else b"?", record.text.rstrip(b"\r")
        )
        paint = COLOURS[zlib.crc32(record.service.encode()) % len(COLOURS)]
        head = f"\x1b[2m{when}\x1b[0m \x1b[{paint}m{name:<{self._width}} |\x1b[0m "
        if record.stream == "sys":
            return head.encode() + b"\x1b[2m" + text + b"\x1b[0m\n"
        return head.encode() + text + (b"\x1b[0m\n" if b"\x1b" in text else b"\n")

    def _local(self, stamp: str) -> str:
        """`stamp` in local time. Whole minutes are kept: to ask for the time zone costs the most."""
        minute = stamp[:16]
        if minute != self._minute[0]:
            try:
                local = time.localtime(unix(minute + ":00.000000Z"))
            except (ValueError, OverflowError):
                return stamp
            today = time.localtime(self._clock())[:3] == local[:3]
            self._minute = (minute, time.strftime("%H:%M" if today else "%Y-%m-%d %H:%M", local))
        return self._minute[1] + stamp[16:23]
