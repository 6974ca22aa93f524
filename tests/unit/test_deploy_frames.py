"""Frames of a channel: whole ones come through as they were, anything else is an error and never a hang."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.agent import frames
from deploy.agent.errors import AgentError
from deploy.agent.frames import LENGTHS, MAX_BODY, MAX_HEADER, FrameError, encode, read
from deploy.agent.layout import Layout
from deploy.agent.server import Events, Server

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc"), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip
HEADERS = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), JSON, max_size=5)


class Pieces:
    """Gives `data` in pieces as a network does: each of at most the next of `sizes` bytes, over and over."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._stream = io.BytesIO(data)
        self._sizes = sizes
        self._asked = 0

    def __call__(self, size: int) -> bytes:
        assert size > 0
        self._asked += 1
        return self._stream.read(min(size, self._sizes[self._asked % len(self._sizes)]))

    def rest(self) -> bytes:
        return self._stream.read()


SIZES = st.lists(st.integers(1, 50), min_size=1, max_size=5)


@given(st.lists(st.tuples(HEADERS, st.binary(max_size=300)), max_size=4), SIZES)
def test_what_is_sent_arrives_however_it_is_cut(
    sent: list[tuple[dict[str, Any], bytes]], sizes: list[int]
) -> None:
    pieces = Pieces(b"".join(encode(header, body) for header, body in sent), sizes)
    arrived = []
    while (frame := read(pieces)) is not None:
        arrived.append(tuple(frame))
    assert arrived == sent


@given(st.binary(max_size=200), SIZES)
def test_any_bytes_are_a_frame_or_an_error(data: bytes, sizes: list[int]) -> None:
    try:
        frame = read(Pieces(data, sizes))
    except FrameError:
        return
    assert (frame is None) == (data == b"")


@given(st.binary(max_size=60), st.binary(max_size=20))
def test_a_header_of_any_bytes_is_an_object_or_an_error(header: bytes, body: bytes) -> None:
    try:
        frame = read(io.BytesIO(LENGTHS.pack(len(header), len(body)) + header + body).read)
    except FrameError:
        return
    assert frame is not None and isinstance(frame.header, dict) and frame.body == body


@given(HEADERS, st.binary(max_size=50), st.data())
def test_a_frame_that_was_cut_off_is_an_error(
    header: dict[str, Any], body: bytes, data: st.DataObject
) -> None:
    whole = encode(header, body)
    length = data.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(FrameError):
        read(io.BytesIO(whole[:length]).read)


@pytest.mark.parametrize("lengths", [(MAX_HEADER + 1, 0), (2, MAX_BODY + 1), (0xFFFFFFFF, 0xFFFFFFFF)])
def test_a_length_out_of_bounds_is_refused_before_anything_is_read(lengths: tuple[int, int]) -> None:
    pieces = Pieces(LENGTHS.pack(*lengths) + b"{}", [8])
    with pytest.raises(FrameError, match="out of bounds"):
        read(pieces)
    assert pieces.rest() == b"{}"


@pytest.mark.parametrize(
    "text", [b"[" * 200_000, b'{"a":NaN}', b'{"a":' + b"9" * 5000 + b"}", b"[]", b'{"a"', b"\xff"]
)
def test_hostile_json_is_an_error(text: bytes) -> None:
    with pytest.raises(FrameError):
        read(io.BytesIO(LENGTHS.pack(len(text), 0) + text).read)


@pytest.mark.parametrize("header, body", [
    ({"a": "x" * MAX_HEADER}, b""), ({}, b"x" * (MAX_BODY + 1)),
    ({"a": float("nan")}, b""), ({"a": b"x"}, b""),
])  # fmt: skip
def test_what_would_be_refused_there_is_not_sent(header: dict[str, Any], body: bytes) -> None:
    with pytest.raises(FrameError):
        encode(header, body)


class Served:
    """A server in a thread, and its two pipes."""

    def __init__(self, **operations: Any) -> None:
        self.source, self._to = os.pipe()
        self._from, self.sink = os.pipe()
        server = Server(Layout(Path("/nowhere")), operations, self.source, self.sink)
        self.thread = threading.Thread(target=server.serve, args=(30,), daemon=True)
        self.thread.start()

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *error: object) -> None:
        self.end_input()
        self.thread.join(60)
        for each in (self.source, self.sink, self._from):
            os.close(each)
        assert not self.thread.is_alive()

    def send(self, data: bytes) -> None:
        os.write(self._to, data)

    def end_input(self) -> None:
        if self._to >= 0:
            os.close(self._to)
            self._to = -1

    def answer(self) -> dict[str, Any]:
        frame = read(lambda size: os.read(self._from, size))
        assert frame is not None
        return frame.header


def test_an_operation_is_answered_after_its_events() -> None:
    def work(layout: Layout, request: dict[str, Any], body: bytes, events: Events) -> dict[str, Any]:
        events({"line": "one"})
        return {"size": len(body), "given": request["given"]}

    with Served(work=work) as served:
        served.send(encode({"id": 7, "op": "work", "given": [1]}, b"four"))
        assert served.answer() == {"id": 7, "event": {"line": "one"}}
        assert served.answer() == {"id": 7, "ok": True, "size": 4, "given": [1]}


@pytest.mark.parametrize("error, described", [
    (AgentError("no", "do", 11), {"message": "no", "hint": "do", "exit_code": 11}),
    (OSError(28, "x", "/f"), {"message": "/f: no space left on the device", "hint": "free some space on it",
                              "exit_code": 8}),
    (KeyError("epoch"), {"message": "the agent failed: KeyError: 'epoch'", "hint": "", "exit_code": 1}),
], ids=repr)  # fmt: skip
def test_an_operation_that_fails_is_answered_and_the_next_is_served(
    error: Exception, described: dict[str, Any]
) -> None:
    def fail(*given: object) -> dict[str, Any]:
        raise error

    with Served(fail=fail, well=lambda *given: {}) as served:
        served.send(encode({"id": 1, "op": "fail"}) + encode({"id": 2, "op": "well"}))
        assert served.answer() == {"id": 1, "error": described}
        assert served.answer() == {"id": 2, "ok": True}


@pytest.mark.parametrize("answer", [{"text": "x" * MAX_HEADER}, {"bytes": b"x"}], ids=["long", "no JSON"])
def test_an_answer_that_cannot_be_sent_is_an_error_and_no_silence(answer: dict[str, Any]) -> None:
    with Served(work=lambda *given: answer) as served:
        served.send(encode({"id": 1, "op": "work"}))
        assert served.answer()["error"]["exit_code"] == 1


def test_what_is_no_request_ends_the_agent() -> None:
    with Served() as served:
        served.send(b"\xff" * frames.LENGTHS.size)
        assert "out of bounds" in served.answer()["error"]["message"]
        served.thread.join(60)
        assert not served.thread.is_alive()


def test_an_operation_goes_on_when_nobody_listens_any_more() -> None:
    did, may_go_on = threading.Event(), threading.Event()

    def work(layout: Layout, request: dict[str, Any], body: bytes, events: Events) -> dict[str, Any]:
        may_go_on.wait(60)
        for _ in range(3):
            events({"line": "to nobody"})
        did.set()
        return {}

    served = Served(work=work)
    served.send(encode({"id": 1, "op": "work"}))
    served.end_input()
    os.close(served._from)
    may_go_on.set()
    assert did.wait(60)
    served.thread.join(60)
    assert not served.thread.is_alive()
    os.close(served.source)
    os.close(served.sink)
