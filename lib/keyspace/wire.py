"""The parts of etcd's v3 JSON that the client reads and writes.

Source: etcd's rpc.proto by way of grpc-gateway: bytes are base64, 64-bit integers are strings, and a field
with its type's zero is left out. https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/
"""

from __future__ import annotations

import base64

import msgspec

Bytes = str | bytes
"""What callers may pass as a key or a value; text is taken as UTF-8."""


def raw(data: Bytes) -> bytes:
    """`data` as bytes; text that came from `key_text` gives back the same bytes."""
    return data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data


def key_text(key: bytes) -> str:
    """A key as text; bytes that are not UTF-8 survive as lone surrogates."""
    return key.decode("utf-8", "surrogateescape")


def b64(data: Bytes) -> str:
    """`data` as it stands in the JSON."""
    return base64.b64encode(raw(data)).decode()


def end_of_prefix(prefix: bytes) -> bytes:
    """The first key after all that begin with `prefix`; a zero byte means: to the end of all keys."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else b"\0"


def key_range(prefix: Bytes) -> dict[str, str]:
    """The fields `key` and `range_end` for every key that begins with `prefix` (empty: all keys)."""
    begin = raw(prefix)
    return {"key": b64(begin or b"\0"), "range_end": b64(end_of_prefix(begin))}


class Header(msgspec.Struct, frozen=True):
    """What stands at the head of every answer; `revision` counts the store's changes."""

    revision: str = "0"
    member_id: str = "0"


class KeyValue(msgspec.Struct, frozen=True):
    """One key as it is stored; `lease` is "0" without an expiry."""

    key: str
    value: str = ""
    mod_revision: str = "0"
    lease: str = "0"

    @property
    def name(self) -> str:
        """The key as text."""
        return key_text(base64.b64decode(self.key))

    @property
    def data(self) -> bytes:
        """The value."""
        return base64.b64decode(self.value)


class RangeAnswer(msgspec.Struct, frozen=True):
    """Of kv/range; `count` is of the whole range, whatever the limit."""

    header: Header = Header()
    kvs: list[KeyValue] = []
    count: str = "0"
    more: bool = False


class DeleteAnswer(msgspec.Struct, frozen=True):
    """Of kv/deleterange."""

    deleted: str = "0"
    prev_kvs: list[KeyValue] = []


class Response(msgspec.Struct, frozen=True):
    """One operation's answer within a transaction."""

    response_range: RangeAnswer | None = None
    response_delete_range: DeleteAnswer | None = None


class TxnAnswer(msgspec.Struct, frozen=True):
    """Of kv/txn."""

    succeeded: bool = False
    responses: list[Response] = []


class PutAnswer(msgspec.Struct, frozen=True):
    """Of kv/put."""

    header: Header = Header()


class LeaseAnswer(msgspec.Struct, frozen=True):
    """Of lease/grant and lease/revoke."""

    ID: str = "0"


class StatusAnswer(msgspec.Struct, frozen=True):
    """Of maintenance/status; `leader` is a member's id, "0" where there is none."""

    leader: str = "0"


class Member(msgspec.Struct, frozen=True):
    """One member of the cluster."""

    ID: str = "0"
    name: str = ""


class MembersAnswer(msgspec.Struct, frozen=True):
    """Of cluster/member/list."""

    members: list[Member] = []


class Failure(msgspec.Struct, frozen=True):
    """Any answer but 200; `code` is a gRPC status code."""

    error: str = ""
    message: str = ""
    code: int = 2
