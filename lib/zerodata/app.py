"""The record store as an ASGI application: docs/zerodata.md is its reference.

Owns HTTP: bounds, signatures, statuses. Everything that touches SQLite runs in worker threads.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from lib.errors import AmpzeroError, ConfigError, DiskFullError, StorageError
from lib.signed import SCHEME, SignatureError, SqliteNonces, Verifier
from lib.zerodata.index import Index
from lib.zerodata.query import make_query
from lib.zerodata.record import (
    MAX_BATCH,
    MAX_RECORD,
    Delete,
    Put,
    RequestError,
    check_id,
    check_kind,
    check_version,
    encode,
    parse,
)
from lib.zerodata.sqlite import SqliteStore
from lib.zerodata.store import Store, Stored

MAX_BODY = MAX_RECORD
BODY_TIMEOUT = 30
"""Seconds that a request's body may take to arrive."""
THREADS = 16
Handler = Callable[[Store, Request, bytes], Response]


def create_app(data: Path, secrets: Mapping[str, bytes], indexes: Sequence[Index] = (),
               max_bytes: int = 0) -> Starlette:  # fmt: skip
    """The application over the folder `data`; `secrets` maps the ids of keys to their secrets.

    Raises: ConfigError without a secret, StorageError when the folder or what is in it cannot be used.
    """
    if not secrets:
        raise ConfigError("the record store has no key", "give create_app a secret")
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {data}: {error.strerror}") from error
    # All processes over one folder must agree on the key, whichever order their secrets come in.
    cursor_key = hmac.digest(secrets[min(secrets)], b"zerodata cursor", "sha256")
    store = SqliteStore(data / "records.sqlite", cursor_key, indexes, max_bytes)
    nonces = SqliteNonces(data / "nonces.sqlite")
    verifier = Verifier(secrets, nonces)
    workers = ThreadPoolExecutor(THREADS, thread_name_prefix="zerodata")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.get_running_loop().run_in_executor(None, workers.shutdown)
        store.close()
        nonces.close()

    def signed(handler: Handler) -> Callable[[Request], Any]:
        def work(request: Request, body: bytes) -> Response:
            verifier.verify(request.method, target(request), request.headers.get("authorization"), body)
            return handler(store, request, body)

        async def endpoint(request: Request) -> Response:
            body = await read_body(request)
            return await asyncio.get_running_loop().run_in_executor(workers, work, request, body)

        return endpoint

    record = "/v1/records/{kind}/{id:path}"
    app = Starlette(
        routes=[
            Route("/healthz", healthz, methods=["GET"]),
            Route(record, signed(get), methods=["GET"]),
            Route(record, signed(put), methods=["PUT"]),
            Route(record, signed(delete), methods=["DELETE"]),
            Route("/v1/query", signed(query), methods=["POST"]),
            Route("/v1/batch", signed(batch), methods=["POST"]),
        ],
        exception_handlers={AmpzeroError: on_error, HTTPException: on_http, Exception: on_bug},
        lifespan=lifespan,
    )
    # A redirected request would have to be signed anew, and none of our paths needs it.
    app.router.redirect_slashes = False
    return app


def answer(value: Mapping[str, Any], status: int = 200) -> Response:
    """A JSON answer."""
    return raw_answer(json.dumps(value, ensure_ascii=False, separators=(",", ":")), status)


def raw_answer(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that is JSON text already."""
    return Response(text.encode(), status, headers, media_type="application/json")


async def healthz(_: Request) -> Response:
    """GET /healthz, the only path that needs no signature: it tells nothing but that the server serves."""
    return answer({"ok": True})


def target(request: Request) -> str:
    """The path and query as they were sent, which is what was signed."""
    query = request.scope["query_string"]
    raw: bytes = request.scope["raw_path"] + (b"?" + query if query else b"")
    return raw.decode("latin-1")


async def read_body(request: Request) -> bytes:
    """The body, MAX_BODY bytes at most. Raises: RequestError."""
    too_large = RequestError(f"the body is larger than {MAX_BODY} bytes", status=413)
    length = request.headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and int(length[:12]) > MAX_BODY:
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for part in request.stream():
                size += len(part)
                if size > MAX_BODY:
                    raise too_large
                parts.append(part)
    except TimeoutError as error:
        raise RequestError("the body came too slowly", status=408) from error
    except ClientDisconnect as error:
        raise RequestError("the body broke off") from error
    return b"".join(parts)


def key_of(request: Request) -> tuple[str, str]:
    """The kind and the id in the path. Raises: RequestError."""
    _, _, _, kind, id = request.scope["raw_path"].split(b"/", 4)
    try:
        return check_kind(unquote_to_bytes(kind).decode()), check_id(unquote_to_bytes(id).decode())
    except UnicodeDecodeError as error:
        raise RequestError("the path is not UTF-8") from error


def version_of(request: Request, least: int) -> int | None:
    """The query parameter `version`, the only one there is. Raises: RequestError."""
    given = parse_qsl(request.url.query, keep_blank_values=True, max_num_fields=None)
    if not given:
        return None
    if len(given) > 1 or given[0][0] != "version":
        raise RequestError("unknown query parameter", "the only one is version=NUMBER")
    text = given[0][1]
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
    if number is None:
        raise RequestError(f"the version is not a whole number from {least}")
    return check_version(number, least)


def as_json(kind: str, stored: Stored) -> str:
    """A record as JSON; its value is JSON text as it is."""
    head = {"kind": kind, "id": stored.id, "version": stored.version}
    start = json.dumps(head, ensure_ascii=False, separators=(",", ":"))
    return f'{start[:-1]},"value":{stored.text}}}'


def get(store: Store, request: Request, body: bytes) -> Response:
    """GET /v1/records/KIND/ID."""
    kind, id = key_of(request)
    if body or request.scope["query_string"]:
        raise RequestError("a GET has neither body nor query")
    stored = store.get(kind, id)
    if stored is None:
        raise RequestError(f"there is no record {kind}/{id}", status=404)
    return raw_answer(as_json(kind, stored))


def put(store: Store, request: Request, body: bytes) -> Response:
    """PUT /v1/records/KIND/ID?version=NUMBER."""
    kind, id = key_of(request)
    (version,) = store.apply([Put(kind, id, parse(body), version_of(request, 0))])
    return answer({"kind": kind, "id": id, "version": version})


def delete(store: Store, request: Request, body: bytes) -> Response:
    """DELETE /v1/records/KIND/ID?version=NUMBER."""
    kind, id = key_of(request)
    if body:
        raise RequestError("a DELETE has no body")
    (count,) = store.apply([Delete(kind, id, version_of(request, 1))])
    return answer({"kind": kind, "id": id, "deleted": count == 1})


def query(store: Store, request: Request, body: bytes) -> Response:
    """POST /v1/query."""
    asked = make_query(parse(body))
    page = store.query(asked)
    records = ",".join(as_json(asked.kind, stored) for stored in page.records)
    return raw_answer(f'{{"records":[{records}],"cursor":{json.dumps(page.cursor)}}}')


def batch(store: Store, request: Request, body: bytes) -> Response:
    """POST /v1/batch."""
    document = parse(body)
    if not isinstance(document, dict) or set(document) != {"operations"}:
        raise RequestError("a batch is a JSON object with the one key `operations`")
    listed = document["operations"]
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_BATCH:
        raise RequestError(f"operations: not a list of 1 to {MAX_BATCH}")
    operations = [make_operation(number, one) for number, one in enumerate(listed)]
    results = store.apply(operations)
    return answer(
        {
            "results": [
                {"version": result} if isinstance(one, Put) else {"deleted": result == 1}
                for one, result in zip(operations, results, strict=True)
            ]
        }
    )


def make_operation(number: int, one: object) -> Put | Delete:
    """One operation of a batch. Raises: RequestError."""
    try:
        if not isinstance(one, dict) or one.get("operation") not in ("put", "delete"):
            raise RequestError("its `operation` is put or delete")
        wanted = {"operation", "kind", "id"} | ({"value"} if one["operation"] == "put" else set())
        if set(one) - {"version"} != wanted:
            raise RequestError(f"its keys are {', '.join(sorted(wanted))} and, if wanted, version")
        kind, id = check_kind(one["kind"]), check_id(one["id"])
        if one["operation"] == "delete":
            return Delete(kind, id, check_version(one.get("version"), 1))
        encode(one["value"])
        return Put(kind, id, one["value"], check_version(one.get("version")))
    except RequestError as error:
        raise RequestError(f"operations[{number}]: {error.message}", error.hint, error.status) from error


def on_error(_: Request, error: Exception) -> Response:
    """Any error of ours as `{error, hint}` with its status."""
    assert isinstance(error, AmpzeroError)  # noqa: S101 -- registered for nothing else
    status, headers = 500, {}
    if isinstance(error, SignatureError):
        status, headers = 401, {"WWW-Authenticate": SCHEME}
    elif isinstance(error, RequestError):
        status = error.status
    elif isinstance(error, DiskFullError):
        status = 507
    text = json.dumps({"error": error.message, "hint": error.hint}, ensure_ascii=False)
    return raw_answer(text, status, headers)


def on_http(_: Request, error: Exception) -> Response:
    """Starlette's own errors (no such path, wrong method) in the same form."""
    assert isinstance(error, HTTPException)  # noqa: S101 -- registered for nothing else
    text = json.dumps({"error": error.detail, "hint": "docs/zerodata.md lists the paths"})
    return raw_answer(text, error.status_code, error.headers)


def on_bug(_: Request, __: Exception) -> Response:
    """What should not happen: the traceback is in the log, the sender learns nothing of it."""
    return answer({"error": "internal error", "hint": "its traceback is in the log of zerodata"}, 500)
