"""The verbs of Keyspace over etcd's v3 JSON gateway: what the node and `ampzero keyspace` use.

Owns what each verb means; docs/keyspace.md says where that differs from the old store. Every method makes
at least one request, may wait up to the deadline, and may be called from several threads; asynchronous code
calls it by way of asyncio.to_thread. All may raise KeyspaceError, and UnavailableError when no endpoint
answers (lib/keyspace/transport.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

from lib.keyspace.transport import KeyspaceError, Transport
from lib.keyspace.wire import (
    Bytes,
    DeleteAnswer,
    KeyValue,
    LeaseAnswer,
    MembersAnswer,
    PutAnswer,
    RangeAnswer,
    StatusAnswer,
    TxnAnswer,
    b64,
    end_of_prefix,
    key_range,
    raw,
)

if TYPE_CHECKING:
    from lib.keyspace.credentials import Credentials

MAX_VALUE = 1_500_000
"""Bytes of a value; etcd refuses requests of more than 1.5 MiB by default, and ours of more than 2 MiB."""
MAX_KEY = 4096
"""Bytes of a key; a limit of ours, so that lists of keys stay small."""
MAX_BATCH = 128
"""Operations of a batch: etcd's max-txn-ops."""
MIN_EXPIRY = 2.0
"""Seconds; etcd looks for expired leases about twice a second, and rounds a lease up to its election time."""
MAX_EXPIRY = 9_000_000_000.0
"""Seconds: etcd's largest lease."""
PAGE_KEYS, PAGE_VALUES = 1000, 32
"""Keys of one request to list keys, and with their values: so that an answer stays below its limit."""
ATTEMPTS = 50
"""How often a read-and-change is tried again because others changed the key between."""

Operation = (
    tuple[Literal["set"], Bytes, Bytes] | tuple[Literal["delete"], Bytes] | tuple[Literal["get"], Bytes]
)
"""One line of a batch."""
Result = TypeVar("Result")


class KeyspaceClient:
    """A client of one store. Keys are text (or bytes) of 1 to 4096 bytes, values bytes up to 1.5 MB."""

    def __init__(self, endpoints: str | Sequence[str], deadline: float = 2.0,
                 credentials: Credentials | None = None) -> None:  # fmt: skip
        """`endpoints`: one or several http://host:port (several also in one text, with commas between). With
        the `credentials` of a cluster they are https://host:port.

        Raises: UsageError.
        """
        several = endpoints.split(",") if isinstance(endpoints, str) else endpoints
        self._transport = Transport(several, deadline, credentials)

    # -- reading

    def get(self, key: Bytes) -> bytes | None:
        """The value, as of now; None where there is no such key."""
        found = self._read(key)
        return found.data if found else None

    def dirtyget(self, key: Bytes) -> bytes | None:
        """The value as the asked member knows it: faster, works without a leader, may be old."""
        found = self._read(key, dirty=True)
        return found.data if found else None

    def listkeys(self, prefix: Bytes = "", *, limit: int = 0, descending: bool = False) -> list[str]:
        """The keys that begin with `prefix`, in the order of their bytes; at most `limit` (0: all)."""
        return [found.name for found in self._list(prefix, limit, descending, keys_only=True)]

    def listkeyvalues(
        self, prefix: Bytes = "", *, limit: int = 0, descending: bool = False
    ) -> list[tuple[str, bytes]]:
        """Keys that begin with `prefix`, with their values."""
        return [(found.name, found.data) for found in self._list(prefix, limit, descending)]

    def count(self, prefix: Bytes = "") -> int:
        """How many keys begin with `prefix`."""
        answer = self._range({**key_range(prefix), "count_only": True})
        return int(answer.count)

    # -- writing

    def set(self, key: Bytes, value: Bytes, *, keep_expiry: bool = False) -> None:
        """Store `value`. The key loses its expiry, unless `keep_expiry`."""
        put = self._put(key, value)
        if not keep_expiry:
            self._transport.call("kv/put", put, PutAnswer, repeatable=True)
            return
        there = {**put, "ignore_lease": True}
        self._txn([exists(key)], [{"request_put": there}], [{"request_put": put}], repeatable=True)

    def testandset(self, key: Bytes, test: Bytes | None, value: Bytes) -> bool:
        """Store `value` if the value is now `test` (None: if there is no such key); whether it was.

        The key keeps its expiry.
        """
        put = self._put(key, value)
        if test is None:
            return self._txn([absent(key)], [{"request_put": put}]).succeeded
        compare: dict[str, object] = {
            "key": b64(key),
            "target": "VALUE",
            "result": "EQUAL",
            "value": b64(test),
        }
        return self._txn([exists(key), compare], [{"request_put": {**put, "ignore_lease": True}}]).succeeded

    def add(self, key: Bytes, number: int) -> int:
        """Add `number` to the value, decimal digits, and return the sum. No such key counts as 0.

        The key keeps its expiry. Raises: KeyspaceError where the value is not a whole number.
        """

        def change(found: KeyValue | None) -> tuple[list[dict[str, object]], int]:
            total = number + whole_number(key, found.data if found else b"0")
            put = self._put(key, str(total))
            return [{"request_put": {**put, "ignore_lease": True} if found else put}], total

        return self._change(key, change)

    def rename(self, key: Bytes, to: Bytes) -> bool:
        """Move the value and the expiry of `key` to the key `to`, replacing that; whether it was there."""

        def change(found: KeyValue | None) -> tuple[list[dict[str, object]], bool]:
            if found is None or raw(key) == raw(to):
                return [], found is not None
            put = {**self._put(to, found.data), "lease": found.lease}
            return [{"request_put": put}, {"request_delete_range": self._key(key)}], True

        self._key(to)
        return self._change(key, change)

    def delete(self, key: Bytes) -> bool:
        """Delete `key`; whether it was there."""
        return self._transport.call("kv/deleterange", self._key(key), DeleteAnswer).deleted != "0"

    def remove(self, key: Bytes) -> bytes | None:
        """Delete `key` and return the value that it had; None where there was no such key."""
        answer = self._transport.call("kv/deleterange", {**self._key(key), "prev_kv": True}, DeleteAnswer)
        return answer.prev_kvs[0].data if answer.prev_kvs else None

    def prune(self, prefix: Bytes) -> int:
        """Delete every key that begins with `prefix` (empty: all); how many there were."""
        return int(self._transport.call("kv/deleterange", key_range(prefix), DeleteAnswer).deleted)

    # -- expiry

    def setexpiry(self, key: Bytes, seconds: float) -> bool:
        """Let `key` vanish after `seconds` (2 at least, rounded up); whether there is such a key."""
        if not MIN_EXPIRY <= seconds <= MAX_EXPIRY:
            raise KeyspaceError(
                f"an expiry of {seconds:g} s is not between {MIN_EXPIRY:g} s and {MAX_EXPIRY:g} s"
            )
        put = {**self._key(key), "ignore_value": True}
        lease = self._transport.call(
            "lease/grant", {"TTL": math.ceil(seconds)}, LeaseAnswer, repeatable=True
        ).ID
        if self._txn([exists(key)], [{"request_put": {**put, "lease": lease}}]).succeeded:
            return True
        # Nothing hangs on it: without this it would stay until it ends.
        self._transport.call("lease/revoke", {"ID": lease}, LeaseAnswer, repeatable=True)
        return False

    def removeexpiry(self, key: Bytes) -> bool:
        """Let `key` stay for good; whether there is such a key."""
        put = {**self._key(key), "ignore_value": True, "lease": 0}
        return self._txn([exists(key)], [{"request_put": put}], repeatable=True).succeeded

    def clearexpiries(self, prefix: Bytes = "") -> int:
        """Take the expiry from every key that begins with `prefix`; how many had one.

        The leases themselves are never revoked: that would delete what hangs on them.
        """
        with_expiry = [found for found in self._list(prefix, 0, False, keys_only=True) if found.lease != "0"]
        return sum(self.removeexpiry(found.name) for found in with_expiry)

    # -- the rest

    def batch(self, operations: Sequence[Operation]) -> list[bytes | bool | None]:
        """Do up to 128 operations at once, all or none: ("set", key, value), ("delete", key), ("get", key).

        Returns one entry an operation: None for set, whether it was there for delete, the value or None for
        get. A key may be written only once in a batch.
        """
        if len(operations) > MAX_BATCH:
            raise KeyspaceError(f"a batch has at most {MAX_BATCH} operations, not {len(operations)}")
        if not operations:
            return []
        answer = self._txn([], [self._operation(operation) for operation in operations])
        results: list[bytes | bool | None] = []
        for response in answer.responses:
            if response.response_range:
                found = response.response_range.kvs
                results.append(found[0].data if found else None)
            elif response.response_delete_range:
                results.append(response.response_delete_range.deleted != "0")
            else:
                results.append(None)
        return results

    def getmaster(self) -> str:
        """The name of the member that leads; empty while there is none."""
        leader = self._transport.call("maintenance/status", {}, StatusAnswer, repeatable=True).leader
        members = self._transport.call("cluster/member/list", {}, MembersAnswer, repeatable=True).members
        return next((member.name or member.ID for member in members if leader == member.ID), "")

    # -- how

    def _key(self, key: Bytes) -> dict[str, object]:
        size = len(raw(key))
        if not 1 <= size <= MAX_KEY:
            raise KeyspaceError(f"a key has 1 to {MAX_KEY} bytes, not {size}")
        return {"key": b64(key)}

    def _put(self, key: Bytes, value: Bytes) -> dict[str, object]:
        size = len(raw(value))
        if size > MAX_VALUE:
            raise KeyspaceError(f"a value has at most {MAX_VALUE} bytes, not {size}")
        return {**self._key(key), "value": b64(value)}

    def _operation(self, operation: Operation) -> dict[str, object]:
        if operation[0] == "set":
            return {"request_put": self._put(operation[1], operation[2])}
        if operation[0] == "delete":
            return {"request_delete_range": self._key(operation[1])}
        return {"request_range": self._key(operation[1])}

    def _range(self, request: dict[str, object]) -> RangeAnswer:
        return self._transport.call("kv/range", request, RangeAnswer, repeatable=True)

    def _read(self, key: Bytes, *, dirty: bool = False) -> KeyValue | None:
        answer = self._range({**self._key(key), "serializable": dirty})
        return answer.kvs[0] if answer.kvs else None

    def _list(
        self, prefix: Bytes, limit: int, descending: bool, *, keys_only: bool = False
    ) -> Iterator[KeyValue]:
        """Page by page, all of them as of the first page's revision."""
        begin, end = raw(prefix) or b"\0", end_of_prefix(raw(prefix))
        order = "DESCEND" if descending else "ASCEND"
        page = PAGE_KEYS if keys_only else PAGE_VALUES
        revision, left = "0", limit
        while True:
            asked = min(page, left) if limit else page
            answer = self._range({
                "key": b64(begin), "range_end": b64(end), "limit": asked, "keys_only": keys_only,
                "revision": revision, "sort_target": "KEY", "sort_order": order,
            })  # fmt: skip
            yield from answer.kvs
            left -= len(answer.kvs)
            if not answer.more or (limit and left <= 0):
                return
            revision = answer.header.revision if revision == "0" else revision
            last = raw(answer.kvs[-1].name)
            begin, end = (begin, last) if descending else (last + b"\0", end)

    def _txn(
        self,
        compare: Sequence[dict[str, object]],
        success: Sequence[dict[str, object]],
        failure: Sequence[dict[str, object]] = (),
        *,
        repeatable: bool = False,
    ) -> TxnAnswer:
        body = {"compare": compare, "success": success, "failure": failure}
        return self._transport.call("kv/txn", body, TxnAnswer, repeatable=repeatable)

    def _change(
        self, key: Bytes, change: Callable[[KeyValue | None], tuple[Sequence[dict[str, object]], Result]]
    ) -> Result:
        """Read `key`, and do what `change` makes of it if nobody changed it meanwhile, else again."""
        for _ in range(ATTEMPTS):
            found = self._read(key)
            operations, result = change(found)
            if not operations or self._txn([unchanged(key, found)], operations).succeeded:
                return result
        raise KeyspaceError(f"the key was changed by others {ATTEMPTS} times in a row: {raw(key)!r}")


def exists(key: Bytes) -> dict[str, object]:
    """A comparison: there is such a key."""
    return {"key": b64(key), "target": "VERSION", "result": "GREATER", "version": 0}


def absent(key: Bytes) -> dict[str, object]:
    """A comparison: there is no such key."""
    return {"key": b64(key), "target": "VERSION", "result": "EQUAL", "version": 0}


def unchanged(key: Bytes, found: KeyValue | None) -> dict[str, object]:
    """A comparison: the key is as it was `found`."""
    revision = found.mod_revision if found else 0
    return {"key": b64(key), "target": "MOD", "result": "EQUAL", "mod_revision": revision}


def whole_number(key: Bytes, value: bytes) -> int:
    """The number that `value` writes in decimal digits.

    Raises: KeyspaceError.
    """
    digits = value[1:] if value[:1] in (b"-", b"+") else value
    if not digits.isdigit() or len(digits) > 1000:
        raise KeyspaceError(f"the value of {raw(key)!r} is not a whole number")
    return int(value)
