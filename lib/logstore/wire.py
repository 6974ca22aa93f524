"""What goes over the wire: records as JSON, queries as parameters. Owns the limits and all checks of them."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

from lib.errors import AmpzeroError
from lib.logs.record import STREAMS, Record, stamp, unix
from lib.logs.show import as_json

KEY_ID = "instance"
"""The id under which a request's signature names the instance's secret."""
MAX_BATCH = 5000
"""Records of one request."""
MAX_BODY = 16 * 1024 * 1024
MAX_TEXT = 2 * 1024 * 1024
"""Bytes of one record's text; the reader of segments joins up to half of it."""
MAX_LIMIT = 1000
DEFAULT_LIMIT = 100
MAX_NEEDLE = 1000
MAX_NAMES = 50
MAX_BUCKETS = 2000
DEFAULT_BUCKETS = 60
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
CURSOR = re.compile(r"(-?\d{1,18})-(\d{1,18})")
NUMBER_LIMIT = 2**31
SEQUENCE_LIMIT = 2**63


class RequestError(AmpzeroError):
    """A request cannot be done as asked; `status` is the HTTP status that says so."""

    def __init__(self, message: str, hint: str = "", status: int = 400) -> None:
        super().__init__(message, hint)
        self.status = status


class Sink(Protocol):
    """Takes records. A record that it has already (instance, service, sequence, time) is no second one."""

    def add(self, instance: str, records: Sequence[Record]) -> int:
        """Keep at most MAX_BATCH records; they are on the disk when this returns. How many were new.

        Raises: AmpzeroError; then none of them was kept.
        """
        ...


@dataclass(frozen=True)
class Query:
    """What is searched for; empty means any. `names` are services and processes (`web`, `web.2`).

    Times are those of records, `until` is not included; `cursor` is where the page before ended.
    """

    text: str = ""
    instance: str = ""
    names: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    since: str = ""
    until: str = ""
    limit: int = DEFAULT_LIMIT
    cursor: tuple[int, int] | None = None
    bucket: int = 0


@lru_cache(maxsize=4096)
def _seconds(second: str) -> int:
    """Records come many a second, and to read a date is slow."""
    return round(unix(second + ".000000Z"))


def micros(time: str) -> int:
    """A record's time as microseconds since 1970. Raises: RequestError."""
    try:
        if not TIME.fullmatch(time):
            raise ValueError
        return _seconds(time[:19]) * 1_000_000 + int(time[20:26])
    except ValueError as error:
        raise RequestError(f"not a time: {time[:40]!r}", "as 2026-11-20T21:05:35.123456Z") from error


def from_micros(time: int) -> str:
    """The other way round."""
    return f"{stamp(time // 1_000_000)[:20]}{time % 1_000_000:06d}Z"


def encode_batch(instance: str, records: Iterable[Record]) -> bytes:
    """The body of POST /v1/records."""
    body = {"instance": instance, "records": [as_json(record) for record in records]}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def decode_batch(body: bytes) -> tuple[str, list[Record]]:
    """The instance and the records of such a body, checked. Raises: RequestError."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON: {str(error)[:200]}") from error
    if not isinstance(document, dict) or set(document) != {"instance", "records"}:
        raise RequestError("the body's keys are `instance` and `records`")
    instance, listed = document["instance"], document["records"]
    if not isinstance(instance, str) or not NAME.fullmatch(instance):
        raise RequestError("instance: not a name")
    if not isinstance(listed, list) or len(listed) > MAX_BATCH:
        raise RequestError(f"records: not a list of at most {MAX_BATCH}", status=400)
    return instance, [decode_record(item, f"records[{index}]") for index, item in enumerate(listed)]


def decode_record(item: Any, where: str) -> Record:
    """One record of JSON, checked; see lib/logs/show.py for its form. Raises: RequestError."""
    if not isinstance(item, dict):
        raise RequestError(f"{where}: not an object")
    unknown = set(item) - {
        "time",
        "service",
        "process",
        "stream",
        "sequence",
        "text",
        "bytes",
        "partial",
        "instance",
    }
    if unknown:
        raise RequestError(f"{where}: unknown key {sorted(unknown)[0][:40]!r}")
    time, service, number = item.get("time"), item.get("service"), item.get("process")
    stream, sequence, text = item.get("stream"), item.get("sequence"), item.get("text")
    if not isinstance(time, str):
        raise RequestError(f"{where}: time: not a string")
    micros(time)
    if not isinstance(service, str) or not NAME.fullmatch(service):
        raise RequestError(f"{where}: service: not a name")
    if stream not in STREAMS:
        raise RequestError(f"{where}: stream: one of {', '.join(STREAMS)}")
    if not isinstance(text, str):
        raise RequestError(f"{where}: text: not a string")
    process = _whole(number, NUMBER_LIMIT, f"{where}: process")
    raw = _raw(item, text, where)
    if len(raw) > MAX_TEXT:
        raise RequestError(f"{where}: text: longer than {MAX_TEXT} bytes", status=413)
    return Record(time, service, process, stream, _whole(sequence, SEQUENCE_LIMIT, f"{where}: sequence"), raw,
                  item.get("partial") is True)  # fmt: skip


def _raw(item: dict[str, Any], text: str, where: str) -> bytes:
    try:
        if "bytes" in item:
            return base64.b64decode(item["bytes"], validate=True)
        return text.encode()
    except (ValueError, TypeError, binascii.Error) as error:
        raise RequestError(f"{where}: text or bytes: cannot be bytes") from error


def _whole(value: object, limit: int, where: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < limit:
        return value
    raise RequestError(f"{where}: not a whole number from 0")


def make_query(parameters: Iterable[tuple[str, str]]) -> Query:
    """The Query of a request's parameters, checked. Raises: RequestError."""
    query = Query()
    for key, value in parameters:
        if key in ("service", "process"):
            if len(query.names) >= MAX_NAMES or not NAME.fullmatch(value):
                raise RequestError(f"{key}: not a name, or more than {MAX_NAMES}")
            query = replace(query, names=(*query.names, value))
        elif key == "stream":
            if value not in STREAMS:
                raise RequestError(f"stream: one of {', '.join(STREAMS)}")
            query = replace(query, streams=(*query.streams[: len(STREAMS)], value))
        elif key in ("since", "until"):
            micros(value)
            query = replace(query, since=value) if key == "since" else replace(query, until=value)
        elif key == "text":
            if len(value) > MAX_NEEDLE:
                raise RequestError(f"text: longer than {MAX_NEEDLE} characters")
            query = replace(query, text=value)
        elif key == "instance":
            query = replace(query, instance=value)
        elif key == "limit":
            query = replace(query, limit=_parameter(key, value, MAX_LIMIT))
        elif key == "bucket":
            query = replace(query, bucket=_parameter(key, value, 10**8))
        elif key == "cursor":
            found = CURSOR.fullmatch(value)
            if found is None:
                raise RequestError("cursor: not one of ours", "use the one of the page before")
            query = replace(query, cursor=(int(found[1]), int(found[2])))
        else:
            raise RequestError(f"unknown parameter {key[:40]!r}")
    return query


def _parameter(key: str, value: str, most: int) -> int:
    if value.isascii() and value.isdigit() and len(value) < 12 and 1 <= int(value) <= most:
        return int(value)
    raise RequestError(f"{key}: not a whole number from 1 to {most}")
