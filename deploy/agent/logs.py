"""Streams what the services of this host wrote, as the records of `ampzero logs --json`, for a bounded time.

A coordinator that follows asks again from the last record on: so an agent whose coordinator is gone stops
by itself soon, and no answer is without an end.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from deploy.agent.errors import AgentError
from deploy.agent.layout import Layout

BATCH = 256 * 1024
"""Bytes of records in one event."""
LONGEST = 512 * 1024
"""Bytes of a record's line: what is longer does not fit into a frame with others, and is left out."""
MOST_BYTES = 64 * 1024 * 1024
"""Bytes of one answer; whoever follows gets the rest with the next."""
READ_TIME = 60.0
"""Seconds for what there is."""
FOLLOW_TIME = 10.0
"""Seconds after which who follows is to ask again."""
MOST_LINES = 1_000_000
MOST_SERVICES = 100
SERVICE = re.compile(r"[a-z][a-z0-9_-]{0,31}(\.[0-9]{1,4})?")
STAMP = re.compile(r"[0-9][0-9T:.Z+-]{0,39}")
STREAMS = ("out", "err", "sys")
USAGE = 2

Tell = Callable[[dict[str, Any]], None]


def stream(layout: Layout, request: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Tell the records that `request` asks for, as events {"records": [a JSON text each]}.

    The answer's `left_out` counts those that were too long.

    Raises: AgentError.
    """
    argv = [str(layout.link("ampify") / "bin/ampzero"), *words(request), "--", str(layout.link("instance")),
            *services(request)]  # fmt: skip
    follows = request.get("follow") is True
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "AMPZERO_ROOT": str(layout.var)},
        )  # fmt: skip
    except OSError as error:
        raise AgentError(f"cannot run {argv[0]}: {error.strerror}", exit_code=5) from error
    left_out = 0
    with process:
        try:
            for lines in _batches(process, FOLLOW_TIME if follows else READ_TIME):
                kept = [line.decode("utf-8", "replace") for line in lines if len(line) <= LONGEST]
                left_out += len(lines) - len(kept)
                if kept:
                    tell({"records": kept})
            ended = process.poll()
        finally:
            process.terminate()
        if ended:
            assert process.stderr is not None  # noqa: S101 -- a pipe was asked for
            said = process.stderr.read(4096).decode(errors="replace").removeprefix("ampzero: error: ")
            raise AgentError(
                said.partition("\n")[0] or f"ampzero logs: exit code {ended}", exit_code=max(ended, 1)
            )
    return {"left_out": left_out}


def words(request: Mapping[str, Any]) -> list[str]:
    """The options of `ampzero logs` that `request` means.

    Raises: AgentError for what is none.
    """
    found = ["logs", "--json"]
    if request.get("follow") is True:
        found.append("--follow")
    lines = request.get("lines")
    if lines is not None:
        if type(lines) is not int or not 0 <= lines <= MOST_LINES:
            raise AgentError("the request's lines are no number", "", USAGE)
        found.append(f"--lines={lines}")
    since = request.get("since", "")
    if since:
        if not isinstance(since, str) or not STAMP.fullmatch(since):
            raise AgentError("the request's since is no time", "", USAGE)
        found.append(f"--since={since}")
    text = request.get("text", "")
    if not isinstance(text, str) or len(text) > 4096 or "\0" in text:
        raise AgentError("the request's text is none", "", USAGE)
    found += [f"--grep={text}"] if text else []
    found += ["--ignore-case"] if request.get("ignore_case") is True else []
    return found + [
        f"--stream={each}" for each in _texts(request, "streams") if _known(each in STREAMS, each)
    ]


def services(request: Mapping[str, Any]) -> list[str]:
    """The services, and processes, that `request` names.

    Raises: AgentError.
    """
    return [each for each in _texts(request, "services") if _known(bool(SERVICE.fullmatch(each)), each)]


def _texts(request: Mapping[str, Any], key: str) -> list[str]:
    found = request.get(key, [])
    if (
        not isinstance(found, list)
        or len(found) > MOST_SERVICES
        or not all(isinstance(each, str) for each in found)
    ):
        raise AgentError(f"the request's {key} are no texts", "", USAGE)
    return found


def _known(is_known: bool, word: str) -> bool:
    if not is_known:
        raise AgentError(f"there cannot be {word[:40]!r} in a log", "", USAGE)
    return True


def _batches(process: subprocess.Popen[bytes], seconds: float) -> Iterator[list[bytes]]:
    """Whole lines of the program's output, as they come, for `seconds` and MOST_BYTES at most."""
    assert process.stdout is not None  # noqa: S101 -- a pipe was asked for
    until, size, rest = time.monotonic() + seconds, 0, b""
    handle = process.stdout.fileno()
    while size < MOST_BYTES and select.select([handle], [], [], max(0.0, until - time.monotonic()))[0]:
        block = os.read(handle, BATCH)
        if not block:
            process.wait()
            return
        size += len(block)
        *lines, rest = (rest + block).split(b"\n")
        if len(rest) > 4 * LONGEST:
            rest = rest[: 4 * LONGEST]
        if lines:
            yield lines
