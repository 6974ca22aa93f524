"""The object `node` that a module of the application gets: all parts of the instance, made when first used.

Owns no part itself. A part whose service the instance does not have raises a MissingError that says what to
add to amprun.yaml, at the moment a module asks for it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import HTMLResponse

from lib.errors import MissingError
from lib.node.identity import Identities, find_identities
from lib.node.pages import environment
from lib.node.session import Sessions
from lib.node.settings import NodeSettings

if TYPE_CHECKING:
    import jinja2
    from redis.asyncio import Redis

    from lib.contact.client import Answer, ContactClient
    from lib.contact.token import Caller
    from lib.keyspace.client import KeyspaceClient
    from lib.logstore.client import LogstoreClient
    from lib.zerodata.client import ZerodataClient


class Parts:
    """What all modules of one node process share."""

    def __init__(self, settings: NodeSettings, values: Mapping[str, Any], sessions: Sessions) -> None:
        self.settings = settings
        self.values: Mapping[str, Any] = MappingProxyType(dict(values))
        self.sessions = sessions
        # The clients that block are for one thread each; `def` handlers run in several.
        self._local = threading.local()

    def given(self, variable: str, service: str) -> str:
        """The environment variable that `service` gives to the others.

        Raises: MissingError.
        """
        value = self.settings.environment.get(variable, "")
        if not value:
            raise MissingError(
                f"the instance {self.settings.name} has no {service} service",
                f"add `{service}: {{}}` under services: in amprun.yaml",
            )
        return value

    @cached_property
    def templates(self) -> jinja2.Environment:
        """The templates of the application's own pages."""
        return environment(self.settings.application / "templates")

    @cached_property
    def redis(self) -> Redis:
        """The pool of connections to Redis; it connects at the first command."""
        from redis.asyncio import Redis

        client: Redis = Redis.from_url(self.given("REDIS_URL", "redis"))
        return client

    @property
    def zerodata(self) -> ZerodataClient:
        """The record store's client of the calling thread."""
        if not hasattr(self._local, "zerodata"):
            from lib.zerodata.client import ZerodataClient

            self._local.zerodata = ZerodataClient(*self._address("zerodata"))
        client: ZerodataClient = self._local.zerodata
        return client

    @property
    def logstore(self) -> LogstoreClient:
        """The log store's client of the calling thread."""
        if not hasattr(self._local, "logstore"):
            from lib.logstore.client import LogstoreClient

            self._local.logstore = LogstoreClient(*self._address("logstore"))
        client: LogstoreClient = self._local.logstore
        return client

    def _address(self, service: str) -> tuple[str, bytes]:
        """The base URL and the secret of one of our own stores."""
        from lib.signed import read_secret

        url = self.given(f"{service.upper()}_URL", service)
        return url, read_secret(Path(self.given(f"{service.upper()}_SECRET_FILE", service)))

    @cached_property
    def keyspace(self) -> KeyspaceClient:
        """The client of etcd; it may be used by several threads."""
        from lib.keyspace.client import KeyspaceClient
        from lib.keyspace.credentials import credentials

        url = self.given("KEYSPACE_URL", "keyspace")
        return KeyspaceClient(url, credentials=credentials(self.settings.environment))

    @cached_property
    def identities(self) -> Identities:
        """The public key files in ampnode/."""
        return find_identities(self.settings.application)

    @cached_property
    def contact(self) -> ContactClient:
        """Calls to other instances."""
        from lib.contact.client import ContactClient

        path = self.settings.environment.get("CONTACT_SOCKET", "")
        if not path:
            raise MissingError(
                f"the instance {self.settings.name} has no contact process",
                "ampzero status says why: hub; and see contact: in amprun.yaml",
            )
        return ContactClient(Path(path))

    async def close(self) -> None:
        """Close what was opened."""
        if "redis" in self.__dict__:
            await self.redis.aclose()


class Node:
    """What a module's `routes(node)` is given; one a module. docs/node.md is its reference."""

    def __init__(self, parts: Parts, module: str, path: str, options: Mapping[str, Any]) -> None:
        self._parts = parts
        self.module = module
        self.path = path
        self.options: Mapping[str, Any] = MappingProxyType(dict(options))

    @property
    def name(self) -> str:
        """The instance's name."""
        return self._parts.settings.name

    @property
    def directory(self) -> Path:
        """The instance's own folder; nothing writes there while it runs."""
        return self._parts.settings.directory

    @property
    def process(self) -> str:
        """The process that this is, as `ampnode.1`."""
        return self._parts.settings.process

    @property
    def debug(self) -> bool:
        """Whether the instance runs with --debug."""
        return self._parts.settings.debug

    @property
    def settings(self) -> Mapping[str, Any]:
        """`settings:` of ampnode.yaml, the same for all modules; `options` are the module's own."""
        return self._parts.values

    @property
    def environment(self) -> Mapping[str, str]:
        """The process's environment, as the supervisor gave it."""
        return self._parts.settings.environment

    @property
    def keys(self) -> Identities:
        """Who the instance is: `keys.host.id`, `keys.user.id`, and where the key files are."""
        return self._parts.identities

    @property
    def redis(self) -> Redis:
        """redis-py's asyncio client, shared by all modules: `await node.redis.incr("visits")`.

        Raises: MissingError.
        """
        return self._parts.redis

    @property
    def keyspace(self) -> KeyspaceClient:
        """The replicated key-value store: get, set, testandset, ... It blocks: use it in `def` handlers.

        Raises: MissingError.
        """
        return self._parts.keyspace

    @property
    def zerodata(self) -> ZerodataClient:
        """The record store: put, get, delete, query. It blocks: use it in `def` handlers, not in `async def`.

        Raises: MissingError.
        """
        return self._parts.zerodata

    @property
    def logstore(self) -> LogstoreClient:
        """The log store: search and histogram over all log lines. It blocks: use it in `def` handlers.

        Raises: MissingError.
        """
        return self._parts.logstore

    async def call(
        self, host: str, path: str = "/", *, method: str = "GET", body: bytes | str = b"", json: Any = None,
        headers: Mapping[str, str] | None = None, timeout: float = 30.0,
    ) -> Answer:  # fmt: skip
        """Ask the instance with the id `host` (as host-7) for `path`; `json` is sent as the body's JSON.

        `timeout` in seconds is for each step. An answer of any status is an answer.

        Raises: MissingError, RefusedError, UnreachableError, NotRunningError, UsageError: docs/contact.md.
        """
        sent = dict(headers or {})
        if json is not None:
            from json import dumps

            body = dumps(json)
            sent.setdefault("Content-Type", "application/json")
        raw = body.encode() if isinstance(body, str) else body
        return await self._parts.contact.call(
            host, path, method=method, body=raw, headers=sent, timeout=timeout
        )

    def caller(self, request: Request) -> Caller | None:
        """The instance that calls, as it proved; None for a browser. The same as `request.state.caller`."""
        caller: Caller | None = getattr(request.state, "caller", None)
        return caller

    def signed_in(self, request: Request) -> bool:
        """Whether the request comes from a browser that is signed in to the console."""
        sessions = self._parts.sessions
        return sessions.find(request.cookies.get(sessions.cookie)) is not None

    def render(self, template: str, /, **values: Any) -> str:
        """The text of `templates/TEMPLATE` with `values`, and `node`, filled in; values are escaped."""
        return self._parts.templates.get_template(template).render({"node": self, **values})

    def page(self, template: str, /, *, status: int = 200, **values: Any) -> HTMLResponse:
        """`render` as an HTML response."""
        return HTMLResponse(self.render(template, **values), status)
