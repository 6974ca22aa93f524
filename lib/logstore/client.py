"""A client of the log store, for modules of the node runtime, the console page, shippers and the shell."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from lib.errors import AmpzeroError, MissingError, StorageError
from lib.logs.record import Record
from lib.logstore.shipper import batches
from lib.logstore.wire import (
    CURSOR,
    DEFAULT_LIMIT,
    KEY_ID,
    MAX_LIMIT,
    Query,
    RequestError,
    decode_record,
    encode_batch,
)
from lib.signed import Response, SignedClient, Signer, read_secret

URL = "LOGSTORE_URL"
SECRET_FILE = "LOGSTORE_SECRET_FILE"  # noqa: S105 -- the variable's name


@dataclass(frozen=True)
class Found:
    """A page of an answer, newest first; `cursor` (for Query.cursor) is None after the last."""

    records: list[Record]
    cursor: tuple[int, int] | None


class LogstoreClient:
    """Talks to the store at `url` (`unix:/path` or `http(s)://host:port`). A Sink. One thread at a time.

    Every method raises NotRunningError when nobody listens, RequestError for a request that the store
    refuses, StorageError when it has no room, AmpzeroError for anything else.
    """

    def __init__(self, url: str, secret: bytes, key_id: str = KEY_ID, timeout: float = 30.0) -> None:
        self._client = SignedClient(url, Signer(key_id, secret), timeout)

    @classmethod
    def from_environment(cls) -> LogstoreClient:
        """The store of the instance that this process is a part of.

        Raises: MissingError outside of one.
        """
        url, secret = os.environ.get(URL), os.environ.get(SECRET_FILE)
        if not url or not secret:
            raise MissingError(
                f"{URL} and {SECRET_FILE} are not set", "they are, in an instance with a logstore"
            )
        return cls(url, read_secret(Path(secret)))

    def add(self, instance: str, records: Sequence[Record]) -> int:
        """See Sink; takes any number of records, and then not all of them at once."""
        return sum(
            int(self._call("POST", "/v1/records", encode_batch(instance, batch))["added"])
            for batch in batches(records)
        )

    def search(self, query: Query) -> Found:
        """One page."""
        answer = self._call("GET", f"/v1/records{_parameters(query)}")
        found = CURSOR.fullmatch(answer["cursor"] or "")
        records = [decode_record(item, "records") for item in answer["records"]]
        return Found(records, (int(found[1]), int(found[2])) if found else None)

    def search_all(self, query: Query, most: int) -> Iterator[Record]:
        """The newest `most` records, page by page, newest first."""
        while most > 0:
            found = self.search(replace(query, limit=min(most, MAX_LIMIT)))
            yield from found.records
            most -= len(found.records)
            if found.cursor is None:
                return
            query = replace(query, cursor=found.cursor)

    def histogram(self, query: Query) -> tuple[int, list[tuple[str, dict[str, int]]]]:
        """The seconds of a bucket, and (its start, count by service) of those that have records."""
        answer = self._call("GET", f"/v1/histogram{_parameters(query)}")
        return int(answer["seconds"]), [(one["time"], one["counts"]) for one in answer["buckets"]]

    def sources(self) -> list[tuple[str, str]]:
        """Every (instance, service) that is known."""
        answer = self._call("GET", "/v1/sources")
        return [(one["instance"], one["service"]) for one in answer["sources"]]

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        self._client.close()

    def _call(self, method: str, target: str, body: bytes = b"") -> Any:
        response = self._client.request(method, target, body)
        if response.status != 200:
            raise _error(response)
        try:
            return json.loads(response.body)
        except ValueError as error:
            raise AmpzeroError(f"the answer of {self._client.base_url} is not JSON") from error


def _parameters(query: Query) -> str:
    given: list[tuple[str, str]] = []
    for key in ("text", "instance", "since", "until"):
        if value := getattr(query, key):
            given.append((key, value))
    given += [("service", name) for name in query.names]
    given += [("stream", stream) for stream in query.streams]
    if query.limit != DEFAULT_LIMIT:
        given.append(("limit", str(query.limit)))
    if query.bucket:
        given.append(("bucket", str(query.bucket)))
    if query.cursor is not None:
        given.append(("cursor", f"{query.cursor[0]}-{query.cursor[1]}"))
    return f"?{urlencode(given, errors='replace')}" if given else ""


def _error(response: Response) -> AmpzeroError:
    """The error that a refusal stands for."""
    try:
        answer = json.loads(response.body)
        message, hint = str(answer["error"]), str(answer["hint"])
    except (ValueError, KeyError, TypeError):
        message, hint = f"the logstore answered with status {response.status}", ""
    if response.status == 507:
        return StorageError(message, hint)
    if response.status != 401 and (400 <= response.status < 500 or response.status == 503):
        return RequestError(message, hint, response.status)
    return AmpzeroError(message, hint)
