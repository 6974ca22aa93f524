"""The log store as an ASGI application: docs/logs.md is its reference.

Owns HTTP (bounds, signatures, statuses) and the two threads beside it: the one that ships the instance's own
logs in, and the one that drops what is too old. Everything that touches SQLite runs in worker threads.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from lib.errors import AmpzeroError, StorageError
from lib.logs.show import as_json
from lib.logstore.shipper import Shipper, complain
from lib.logstore.store import EXPIRE_ROWS, Limits, Store
from lib.logstore.wire import MAX_BODY, Query, RequestError, decode_batch, make_query
from lib.signed import SCHEME, SignatureError, SqliteNonces, Verifier

BODY_TIMEOUT = 30
"""Seconds that a request's body may take to arrive."""
THREADS = 4
EXPIRE_EVERY = 30.0
"""Seconds between two looks for records that are too old."""
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}


def create_app(data: Path, secrets: Mapping[str, bytes], limits: Limits | None = None, instance: str = "",
               ship_from: Path | None = None, page: Path | None = None) -> Starlette:  # fmt: skip
    """The application over the folder `data`; `secrets` maps the ids of keys to their secrets.

    `ship_from` is a folder of logs to bring in as those of `instance`; `page` the file shown at `/`.

    Raises: StorageError when the folder or what is in it cannot be used.
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {data}: {error.strerror}") from error
    store = Store(data / "logs.sqlite", limits or Limits())
    nonces = SqliteNonces(data / "nonces.sqlite")
    verifier = Verifier(secrets, nonces)
    workers = ThreadPoolExecutor(THREADS, thread_name_prefix="logstore")
    shipper = Shipper(instance, ship_from, data / "shipped.json", store) if ship_from else None

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        stop = threading.Event()
        threads = [threading.Thread(target=keep_within_limits, args=(store, stop), name="expire")]
        if shipper is not None:
            threads.append(threading.Thread(target=shipper.run, args=(stop,), name="shipper"))
        for thread in threads:
            thread.start()
        yield
        stop.set()
        loop = asyncio.get_running_loop()
        for thread in threads:
            await loop.run_in_executor(None, thread.join)
        await loop.run_in_executor(None, workers.shutdown)
        store.close()
        nonces.close()

    def signed(handler: Callable[[Store, Request, bytes], Response]) -> Callable[[Request], Any]:
        def work(request: Request, body: bytes) -> Response:
            verifier.verify(request.method, target(request), request.headers.get("authorization"), body)
            return handler(store, request, body)

        async def endpoint(request: Request) -> Response:
            body = await read_body(request)
            return await asyncio.get_running_loop().run_in_executor(workers, work, request, body)

        return endpoint

    async def healthz(_: Request) -> Response:
        """Says that it serves; also how many lines were lost before it could read them."""
        lost = sum(shipper.gaps.values()) if shipper else 0
        return answer({"ok": True, "waiting": bool(shipper and shipper.failure), "lost": lost})

    async def index(_: Request) -> Response:
        if page is None or not page.is_file():
            raise HTTPException(404)
        return FileResponse(page, media_type="text/html; charset=utf-8", headers=PAGE_HEADERS)

    return Starlette(
        routes=[
            Route("/", index, methods=["GET"]),
            Route("/healthz", healthz, methods=["GET"]),
            Route("/v1/records", signed(add), methods=["POST"]),
            Route("/v1/records", signed(search), methods=["GET"]),
            Route("/v1/histogram", signed(histogram), methods=["GET"]),
            Route("/v1/sources", signed(sources), methods=["GET"]),
        ],
        exception_handlers={AmpzeroError: on_error, HTTPException: on_http, Exception: on_bug},
        lifespan=lifespan,
    )


def keep_within_limits(store: Store, stop: threading.Event) -> None:
    """Drop what is too old or too much until `stop` is set, in small parts with room between them."""
    while True:
        try:
            dropped = store.expire()
        except StorageError as error:
            complain(f"old records could not be dropped: {error.message}")
            dropped = 0
        if stop.wait(0.2 if dropped >= EXPIRE_ROWS else EXPIRE_EVERY):
            return


def add(store: Store, request: Request, body: bytes) -> Response:
    """POST /v1/records."""
    instance, records = decode_batch(body)
    added = store.add(instance, records)
    return answer({"added": added, "known": len(records) - added})


def search(store: Store, request: Request, body: bytes) -> Response:
    """GET /v1/records."""
    page = store.search(asked(request))
    records = [{"instance": instance, **as_json(record)} for instance, record in page.records]
    return answer({"records": records, "cursor": page.cursor or None})


def histogram(store: Store, request: Request, body: bytes) -> Response:
    """GET /v1/histogram."""
    found = store.histogram(asked(request))
    buckets = [{"time": time, "counts": counts} for time, counts in found.counts.items()]
    return answer({"seconds": found.seconds, "buckets": buckets})


def sources(store: Store, request: Request, body: bytes) -> Response:
    """GET /v1/sources."""
    return answer({"sources": [{"instance": one, "service": name} for one, name in store.sources()]})


def asked(request: Request) -> Query:
    """The query of a request's parameters. Raises: RequestError."""
    try:
        return make_query(parse_qsl(request.url.query, keep_blank_values=True, max_num_fields=200))
    except ValueError as error:
        raise RequestError("too many parameters") from error


def target(request: Request) -> str:
    """The path and query as they were sent, which is what was signed."""
    query = request.scope["query_string"]
    raw: bytes = request.scope["raw_path"] + (b"?" + query if query else b"")
    return raw.decode("latin-1")


async def read_body(request: Request) -> bytes:
    """The body, MAX_BODY bytes at most. Raises: RequestError."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for part in request.stream():
                size += len(part)
                if size > MAX_BODY:
                    raise RequestError(f"the body is larger than {MAX_BODY} bytes", status=413)
                parts.append(part)
    except TimeoutError as error:
        raise RequestError("the body came too slowly", status=408) from error
    except ClientDisconnect as error:
        raise RequestError("the body broke off") from error
    return b"".join(parts)


def answer(value: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Response(text.encode(), status, headers, media_type="application/json")


def on_error(_: Request, error: Exception) -> Response:
    """Any error of ours as `{error, hint}` with its status."""
    assert isinstance(error, AmpzeroError)  # noqa: S101 -- registered for nothing else
    body = {"error": error.message, "hint": error.hint}
    if isinstance(error, SignatureError):
        return answer(body, 401, {"WWW-Authenticate": SCHEME})
    if isinstance(error, RequestError):
        return answer(body, error.status)
    return answer(body, 507 if isinstance(error, StorageError) else 500)


def on_http(_: Request, error: Exception) -> Response:
    """Starlette's own errors (no such path, wrong method) in the same form."""
    assert isinstance(error, HTTPException)  # noqa: S101 -- registered for nothing else
    body = {"error": error.detail, "hint": "docs/logs.md lists the paths"}
    return answer(body, error.status_code, error.headers)


def on_bug(_: Request, __: Exception) -> Response:
    """What should not happen: the traceback is in the log, the sender learns nothing of it."""
    return answer({"error": "internal error", "hint": "its traceback is in the log of logstore"}, 500)
