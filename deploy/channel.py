"""The coordinator's side of a channel: an agent on a host, asked one thing at a time."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from deploy import bootstrap
from deploy.agent import frames
from deploy.agent.errors import AgentError
from deploy.agent.frames import Frame
from deploy.transport.base import Process, Transport
from lib.errors import BY_EXIT_CODE, AmpzeroError, UnreachableError

Heard = Callable[[dict[str, Any]], None]
NO_PYTHON = {126, 127}
NOISE = 1 << 16
"""Bytes that a login shell may print before the agent's first word."""
SHOWN = 300
"""Characters of a host's error output that a message takes over."""
SUDO = "sudo: "
SUDO_HINT = "log in as root, or let the login use sudo without a password (NOPASSWD: ALL in sudoers)"
PYTHON_HINT = "Ampify Zero needs Python 3.11 or later there, as `python3`"
SETUP_HINT = f"{PYTHON_HINT}; `deploy --setup` installs it where it may"
MODULE = re.compile(r"ModuleNotFoundError: No module named '([a-z]+)'$")


class Channel:
    """An agent that runs on a host. One thread at a time may `call`; any may `close`."""

    def __init__(self, transport: Transport, process: Process, name: str) -> None:
        self._transport = transport
        self._process = process
        self._name = name
        self._numbers = itertools.count(1)

    @classmethod
    def open(cls, transport: Transport, root: str = "/opt/ampzero", *, name: str = "", as_root: bool = False,
             timeout: float = 60.0) -> Channel:  # fmt: skip
        """Start the agent on the host, having sent its code where the host has not got it.

        Errors begin with `name`. An agent that was started as root becomes the owner of `root`, unless
        `as_root`; a login that is neither uses sudo, without a password. The channel owns `transport` and
        closes it, also where this fails.

        Raises: UnreachableError.
        """
        code = bootstrap.bundle()
        deadline = time.monotonic() + timeout
        name = name or transport.address
        try:
            process = transport.start(bootstrap.command(root, code, as_root=as_root), timeout=timeout)
            channel = cls(transport, process, name)
            word = channel._first_word(deadline)
            if word[0] == "old":
                raise UnreachableError(f"{name}: its python3 is {_line(word[-1])}", PYTHON_HINT)
            if word[0] == "need":
                process.write(code.data, deadline)
        except (TimeoutError, BrokenPipeError):
            transport.close()
            raise UnreachableError(f"{name}: its agent did not start within {timeout:g} s") from None
        except BaseException:
            transport.close()
            raise
        return channel

    def call(self, op: str, body: bytes = b"", *, timeout: float, heard: Heard | None = None,
             **fields: Any) -> dict[str, Any]:  # fmt: skip
        """Ask the agent for an operation; its answer. `heard` gets each event that comes before.

        Raises: the error that the agent answered, as the class of its exit code;
        UnreachableError where there is no answer within `timeout` seconds; the channel is then closed.
        """
        deadline = time.monotonic() + timeout
        number = next(self._numbers)
        try:
            request = frames.encode({**fields, "id": number, "op": op}, body)
        except AgentError as error:
            raise AmpzeroError(f"{self._name}: cannot ask for {op}: {error.message}") from error
        try:
            # An agent that ends early has said why: what it wrote is read whether or not it took all of this.
            with suppress(BrokenPipeError):
                self._process.write(request, deadline)
            while (header := self._receive(op, deadline).header).get("id") == number and "event" in header:
                if heard is not None and isinstance(header["event"], dict):
                    heard(header["event"])
        except TimeoutError:
            self.close()
            raise UnreachableError(f"{self._name}: no answer to {op} within {timeout:g} s") from None
        except AgentError as error:
            self.close()
            raise UnreachableError(f"{self._name}: {op}: {error.message}") from error
        if isinstance(header.get("error"), dict):
            raise _error(self._name, header["error"])
        if header.get("id") != number or header.get("ok") is not True:
            self.close()
            raise UnreachableError(f"{self._name}: its agent's answer to {op} is none")
        return {key: value for key, value in header.items() if key not in ("id", "ok")}

    def close(self) -> None:
        """Let the agent go, which ends when it has done what it does, and end the connection."""
        self._process.close()
        self._transport.close()

    def _receive(self, op: str, deadline: float) -> Frame:
        frame = frames.read(lambda size: self._process.read(size, deadline))
        if frame is None:
            with suppress(AmpzeroError, TimeoutError):  # the tail is whole once it has ended
                self._process.wait(min(deadline, time.monotonic() + 1))
            said = _line(self._process.tail().strip().rpartition("\n")[2])
            raise AgentError(f"the connection was lost{f' ({said})' if said else ''}")
        return frame

    def _first_word(self, deadline: float) -> list[str]:
        """What the stub says: have, need or old.

        Raises: UnreachableError, TimeoutError.
        """
        said = b""
        while len(said) < NOISE:
            # One byte at a time: what follows the line belongs to the frames.
            part = self._process.read(1, deadline)
            if not part:
                break
            said += part
            if part == b"\n" and (word := _word(said)):
                return word
        else:
            raise UnreachableError(
                f"{self._name}: its shell prints too much: {_line(said.decode(errors='replace'))}",
                "a shell that is not interactive should print nothing: look at ~/.bashrc there",
            )
        raise self._did_not_start(said, deadline)

    def _did_not_start(self, said: bytes, deadline: float) -> AmpzeroError:
        code = self._process.wait(deadline)
        if code in NO_PYTHON:
            return UnreachableError(f"{self._name}: no python3 on the host", SETUP_HINT)
        tail = self._process.tail().strip()
        if found := MODULE.search(tail):
            return UnreachableError(
                f"{self._name}: its python3 is not whole: no {found[1]} in it", SETUP_HINT
            )
        text = _line(tail.rpartition("\n")[2] or said.decode(errors="replace")) or f"exit code {code}"
        if SUDO in text:
            why = text.rpartition(SUDO)[2]
            return UnreachableError(
                f"{self._name}: its login has not root's rights, and sudo says: {why}", SUDO_HINT
            )
        return UnreachableError(f"{self._name}: its agent did not start: {text}")


def _word(said: bytes) -> list[str]:
    """What the stub's line says, where that is the last of `said`; else nothing."""
    mark, line = (b"\n" + said).rpartition(bootstrap.MARK)[1:]
    with suppress(ValueError):
        word = json.loads(line) if mark else None
        if isinstance(word, list) and all(isinstance(each, str) for each in word):
            return word
    return []


def _error(name: str, said: dict[str, Any]) -> AmpzeroError:
    """The error that an agent answered."""
    code = said.get("exit_code")
    kind = BY_EXIT_CODE.get(code, AmpzeroError) if isinstance(code, int) else AmpzeroError
    return kind(f"{name}: {_line(said.get('message', ''), 4000)}", _line(said.get("hint", ""), 4000))


def _line(text: object, longest: int = SHOWN) -> str:
    """A host's text as a part of one line, without what a terminal would obey."""
    words = " ".join(str(text).split())
    return "".join(char if char.isprintable() else "?" for char in words[:longest])
