"""The calls of the hub: from a method and a path to what the hub does, and its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import msgspec

from keys import history, operation, root, statement
from keys.errors import TrustError
from keys.fields import MAX_BODY, encode, parse_id, parse_number
from keys.hub import Hub
from keys.hubclient.reference import fingerprint
from keys.hubserver import page
from keys.hubserver.dialback import DialBack
from keys.hubserver.metrics import CONTENT_TYPE, Metrics
from keys.hubserver.replies import BYTES, HTML, JSON, Reply
from keys.hubserver.source import Network, Source, within
from keys.hubwire import INVITE, MAX_CHAIN, Path, Proof, Registered
from keys.log import checkpoint, entry, merkle, proof, tile
from keys.statement import Statement
from lib.errors import MissingError, TakenError

IMMUTABLE = ((b"cache-control", b"public, max-age=31536000, immutable"),)
MOST_WAITING = 512
"""Registrations that may wait; who comes later is asked to come again."""
WITH_ID = ("ids", "hosts", "hub")
"""Words after /v1 behind which a changing part follows."""


@dataclass(frozen=True)
class Request:
    """What a call gets: `id` is the changing part of its path."""

    id: str
    body: bytes
    scope: MutableMapping[str, Any]
    source: Source

    def header(self, name: str) -> str:
        """A header's value, "" where it is missing."""
        wanted = name.lower().encode()
        return next((value.decode("latin-1") for key, value in self.scope["headers"] if key == wanted), "")

    def numbers(self) -> dict[str, int]:
        """The query, which holds nothing but numbers.

        Raises: TrustError.
        """
        try:
            query = parse_qs(self.scope["query_string"].decode("latin-1"), max_num_fields=4)
        except ValueError as error:
            raise TrustError("a query of too many fields") from error
        return {name: parse_number(values[-1]) for name, values in query.items()}


Function = Callable[[Request], Awaitable[Reply]]


@dataclass(frozen=True)
class Call:
    """A call that was found. `rate` is what it counts for, `most` the bytes of its body."""

    name: str
    function: Function | None
    rate: str
    most: int = 0
    identity_rate: str = ""
    id: str = ""


class Calls:
    """All calls on `hub`. /metrics is for those in `scrapers` only."""

    def __init__(self, hub: Hub, scrapers: tuple[Network, ...] = ()) -> None:
        self.metrics = Metrics()
        self._hub, self._scrapers = hub, scrapers
        self._dialback = DialBack()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._waiting = 0
        self._calls: dict[tuple[str, ...], Call] = {
            ("GET", "v1", "hub"): Call("root", self._root, "look"),
            ("GET", "v1", "hub", "*"): Call("root", self._root, "look"),
            ("POST", "v1", "ids"): Call("register", self._register, "register", MAX_CHAIN),
            ("GET", "v1", "ids", "*"): Call("statement", self._statement, "look"),
            ("GET", "v1", "ids", "*", "ops"): Call("operations", self._operations, "look"),
            ("POST", "v1", "ids", "*", "ops"): Call(
                "operate", self._operate, "operate", MAX_BODY, "identity"
            ),
            ("PUT", "v1", "hosts", "*", "announce"): Call(
                "announce", self._announce, "announce", MAX_BODY, "host"
            ),
            ("GET", "v1", "hosts", "*", "announce"): Call("announcement", self._announcement, "look"),
            ("GET", "checkpoint"): Call("checkpoint", self._checkpoint, "look"),
            ("GET", "tile"): Call("tile", self._tile, "look"),
            ("GET", "v1", "log", "proof"): Call("proof", self._proof, "look"),
            ("GET", "metrics"): Call("metrics", self._metrics, "look"),
            ("GET", "ids", "*"): Call("page", self._page, "look"),
            ("GET", ""): Call("front", self._front, "look"),
        }
        self._paths = {key[1:] for key in self._calls}

    def find(self, method: str, path: str) -> Call | None:
        """The call; one without a function where only the method is wrong; None where there is none."""
        words = path.split("/")[1:]
        if not words:
            return None  # as of `OPTIONS *`
        id = ""
        if words[0] == "tile":
            id, words = path[1:], ["tile"]
        elif words[0] == "v1" and len(words) > 2 and words[1] in WITH_ID:
            id, words[2] = words[2], "*"
        elif words[0] == "ids" and len(words) > 1:
            id, words[1] = words[1], "*"
        call = self._calls.get(("GET" if method == "HEAD" else method, *words))
        if call is None:
            return Call("none", None, "look") if tuple(words) in self._paths else None
        return Call(call.name, call.function, call.rate, call.most, call.identity_rate, id) if id else call

    async def _root(self, request: Request) -> Reply:
        if not request.id:
            return _text(self._hub.root_note)
        return _text(self._hub.root_version(parse_number(request.id)))

    async def _register(self, request: Request) -> Reply:
        operations = [operation.parse(text) for text in history.split(request.body)]
        invite, source = request.header(INVITE), request.source.address
        if len(operations) == 1 and len(request.body) > MAX_BODY:
            raise TrustError(f"a note of more than {MAX_BODY} bytes")
        return await self._write(lambda: self._registered(self._hub.adopt(operations, invite, source)))

    async def _operate(self, request: Request) -> Reply:
        id, signed = parse_id(request.id), operation.parse(request.body)
        return await self._write(lambda: self._registered(self._hub.operate(id, signed)))

    async def _write(self, work: Callable[[], Reply]) -> Reply:
        """What waits for the disk waits in a thread of its own, in turn; others are answered meanwhile."""
        if self._waiting >= MOST_WAITING:
            raise TakenError(f"{self._waiting} registrations wait for the disk")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._writer, work)
        finally:
            self._waiting -= 1

    async def _statement(self, request: Request) -> Reply:
        return _text(self._hub.statement(parse_id(request.id)))

    async def _operations(self, request: Request) -> Reply:
        return _text(history.join(self._hub.operations(parse_id(request.id))))

    async def _announce(self, request: Request) -> Reply:
        id, note = parse_id(request.id), request.body.decode(errors="replace")
        told = self._hub.announce(id, note, request.source.address)
        # The hub has just parsed it: doing that again would be a tenth of the whole call.
        addresses = [line[9:] for line in note.split("\n") if line.startswith("address: ")]
        reachable = await self._dialback.reachable(request.source, addresses)
        return Reply(200, msgspec.json.encode(msgspec.structs.replace(told, reachable=reachable)), JSON)

    async def _announcement(self, request: Request) -> Reply:
        return _text(self._hub.announcement(parse_id(request.id)))

    async def _checkpoint(self, request: Request) -> Reply:
        return _text(self._hub.checkpoint())

    async def _tile(self, request: Request) -> Reply:
        return Reply(200, self._hub.tile(tile.parse(request.id)), BYTES, IMMUTABLE)

    async def _proof(self, request: Request) -> Reply:
        asked = request.numbers()
        size = asked.get("size", -1)
        if set(asked) == {"index", "size"}:
            hashes = self._hub.inclusion(asked["index"], size)
        elif set(asked) == {"from", "size"}:
            hashes = self._hub.consistency(asked["from"], size)
        else:
            raise TrustError("a proof is asked for by index and size, or by from and size")
        return Reply(200, msgspec.json.encode(Path([encode(each) for each in hashes])), JSON)

    def _registered(self, text: str) -> Reply:
        """The answer to an operation that was taken: the statement, and that the operation is in the log."""
        said = statement.parse(text)[0]
        signed = self._hub.checkpoint()
        size = checkpoint.parse(signed)[0].size
        hashes = [encode(each) for each in self._hub.inclusion(said.index, size)]
        answer = Registered(said.id, text, said.index, Proof(signed, hashes))
        return Reply(200, msgspec.json.encode(answer), JSON)

    async def _metrics(self, request: Request) -> Reply:
        if not request.source.direct or not within(request.source.address, self._scrapers):
            raise MissingError("there is no such call", "docs/hub.md lists them")
        counts = self._hub.counts()
        gauges: dict[str, tuple[str, float]] = {
            "ampzero_hub_users": ("Users that are registered.", counts["users"]),
            "ampzero_hub_hosts": ("Hosts that are registered.", counts["hosts"]),
            "ampzero_hub_announced": ("Hosts whose announcement holds.", counts["announced"]),
            "ampzero_hub_writes_waiting": ("Registrations that wait for the disk.", self._waiting),
            "ampzero_hub_log_entries": ("Entries in the log.", self._hub.size),
            "ampzero_hub_root_version": ("The version of the root note.", self._hub.root.version),
        }
        return Reply(200, self.metrics.text(gauges, self._dialback.counts).encode(), CONTENT_TYPE.encode())

    async def _page(self, request: Request) -> Reply:
        id = parse_id(request.id)
        text = self._hub.statement(id)
        said = statement.verify(text, self._hub.root.verifier)
        known = history.verified(self._hub.operations(id))
        size, is_in_log = self._is_in_log(said, str(known.operations[-1].note))
        checks = [
            ("the hub's online key signed the statement", True),
            ("the operations lead from the first one to these keys, each signed by a "
             "control key of the state before", known.state.head == said.head),
            (f"the newest operation is entry {said.index} in the log", is_in_log),
        ]  # fmt: skip
        body = page.identity(said, known, checks, size, datetime.now(UTC))
        return Reply(200, body.encode(), HTML, page.HEADERS)

    def _is_in_log(self, said: Statement, note: str) -> tuple[int, bool]:
        """The log's size, and whether the newest operation of the statement is where it should be."""
        now = checkpoint.parse(self._hub.checkpoint())[0]
        leaf = merkle.leaf(entry.encode(said.id, note))
        try:
            proof.verify_inclusion(
                said.index, now.size, leaf, self._hub.inclusion(said.index, now.size), now.root
            )
        except TrustError:
            return now.size, False
        return now.size, True

    async def _front(self, request: Request) -> Reply:
        first = root.parse(self._hub.root_version(1))[0]
        body = page.front(self._hub.root, fingerprint(first), self._hub.size)
        return Reply(200, body.encode(), HTML, page.HEADERS)


def _text(text: str) -> Reply:
    return Reply(200, text.encode())
