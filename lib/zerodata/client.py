"""A client of the record store, for modules of the node runtime, workers and the shell."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lib.errors import AmpzeroError, MissingError, StorageError
from lib.signed import Response, SignedClient, Signer, read_secret
from lib.zerodata.query import DEFAULT_LIMIT, MAX_LIMIT
from lib.zerodata.record import ConflictError, Delete, Put, Record, RequestError, Value, encode

URL = "ZERODATA_URL"
SECRET_FILE = "ZERODATA_SECRET_FILE"  # noqa: S105 -- the variable's name


class ZerodataClient:
    """Talks to the store at `url` (`unix:/path` or `http(s)://host:port`). One thread at a time.

    Every method raises NotRunningError when nobody listens, RequestError for a request that the store
    refuses, StorageError when it has no room, AmpzeroError for anything else.
    """

    def __init__(self, url: str, secret: bytes, key_id: str = "instance", timeout: float = 30.0) -> None:
        self._client = SignedClient(url, Signer(key_id, secret), timeout)

    @classmethod
    def from_environment(cls) -> ZerodataClient:
        """The store of the instance that this process is a part of.

        Raises: MissingError outside of one.
        """
        url, secret = os.environ.get(URL), os.environ.get(SECRET_FILE)
        if not url or not secret:
            raise MissingError(
                f"{URL} and {SECRET_FILE} are not set", "they are, in an instance with zerodata"
            )
        return cls(url, read_secret(Path(secret)))

    def put(self, kind: str, id: str, value: Value, version: int | None = None) -> int:
        """Write a record and give its version. `version`: 0 = only when new, else only over that version.

        Raises: ConflictError.
        """
        answer = self._call("PUT", _path(kind, id, version), encode(value).encode())
        written: int = answer["version"]
        return written

    def get(self, kind: str, id: str) -> Record | None:
        """A record, or None."""
        answer = self._call("GET", _path(kind, id), missing=True)
        return Record(**answer) if answer is not None else None

    def delete(self, kind: str, id: str, version: int | None = None) -> bool:
        """Delete a record; whether there was one. With a version, only that one.

        Raises: ConflictError.
        """
        return bool(self._call("DELETE", _path(kind, id, version))["deleted"])

    def query(self, kind: str, filters: Sequence[Sequence[Any]] = (), order: Sequence[str] = (),
              limit: int | None = None, page: int = DEFAULT_LIMIT) -> Iterator[Record]:  # fmt: skip
        """The records that fit all `filters` (property, operator, value), fetched `page` by page.

        `order` lists properties, `-name` for descending. Records written meanwhile may be in it or not.
        """
        asked: dict[str, Any] = {
            "kind": kind,
            "filters": [list(one) for one in filters],
            "order": list(order),
        }
        left = limit
        while left is None or left > 0:
            asked["limit"] = min(page, MAX_LIMIT, left or MAX_LIMIT)
            answer = self._call("POST", "/v1/query", _json(asked))
            for one in answer["records"]:
                yield Record(**one)
            left = None if left is None else left - len(answer["records"])
            asked["cursor"] = answer["cursor"]
            if asked["cursor"] is None:
                return

    def batch(self, operations: Sequence[Put | Delete]) -> list[int]:
        """Do all operations or none; a Put's version, or for a Delete 1 when there was a record, else 0.

        Raises: ConflictError.
        """
        listed = []
        for one in operations:
            entry: dict[str, Any] = {"operation": "delete", "kind": one.kind, "id": one.id}
            if isinstance(one, Put):
                entry |= {"operation": "put", "value": one.value}
            if one.version is not None:
                entry["version"] = one.version
            listed.append(entry)
        answer = self._call("POST", "/v1/batch", _json({"operations": listed}))
        return [int(one["version"]) if "version" in one else int(one["deleted"]) for one in answer["results"]]

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        self._client.close()

    def _call(self, method: str, target: str, body: bytes = b"", missing: bool = False) -> Any:
        response = self._client.request(method, target, body)
        if missing and response.status == 404:
            return None
        if response.status != 200:
            raise _error(response)
        try:
            return json.loads(response.body)
        except ValueError as error:
            raise AmpzeroError(f"the answer of {self._client.base_url} is not JSON") from error


def _path(kind: str, id: str, version: int | None = None) -> str:
    tail = "" if version is None else f"?version={version}"
    return f"/v1/records/{quote(kind, safe='')}/{quote(id, safe='')}{tail}"


def _json(value: object) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise RequestError(f"not JSON: {error}") from error


def _error(response: Response) -> AmpzeroError:
    """The error that a refusal stands for."""
    try:
        answer = json.loads(response.body)
        message, hint = str(answer["error"]), str(answer["hint"])
    except (ValueError, KeyError, TypeError):
        message, hint = f"zerodata answered with status {response.status}", ""
    if response.status == 409:
        return ConflictError(message, hint)
    if response.status == 507:
        return StorageError(message, hint)
    if 400 <= response.status < 500 and response.status != 401:
        return RequestError(message, hint, response.status)
    return AmpzeroError(message, hint)
