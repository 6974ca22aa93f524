"""The hosts of an environment, each with its channel, all spoken to at once.

Owns the fan-out: one worker thread a host, what failed where, and closing everything. What is said to a
host is the phases' business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, TypeVar

from deploy.environment import Host
from deploy.facts import Facts, facts
from deploy.progress import Progress
from lib.errors import AmpzeroError

T = TypeVar("T")
Heard = Callable[[dict[str, Any]], None]
"""Gets each event that an agent sends before its answer."""
HELLO_TIME = 30.0
"""Seconds for a host to say how it is, hashing its tars included."""


class Caller(Protocol):
    """What a member needs of a channel (deploy.channel.Channel is one)."""

    def call(self, op: str, body: bytes = b"", *, timeout: float, heard: Heard | None = None,
             **fields: Any) -> dict[str, Any]:  # fmt: skip
        """Ask the agent; its answer."""

    def close(self) -> None:
        """End it."""


Opener = Callable[[Host], Caller]
"""Opens the channel to a host; raises an AmpzeroError that names it."""


@dataclass
class Member:
    """A host that takes part. `error` says why it does not any more."""

    host: Host
    channel: Caller | None = None
    error: AmpzeroError | None = None
    skew: float = 0.0
    """Seconds that its clock is ahead of ours."""
    _facts: Facts | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The host's name."""
        return self.host.name

    @property
    def facts(self) -> Facts:
        """What it said last about itself."""
        assert self._facts is not None, "ask() comes first"  # noqa: S101 -- a mistake of ours, not of a user
        return self._facts

    def call(self, op: str, body: bytes = b"", *, timeout: float,
             heard: Heard | None = None, **fields: Any) -> dict[str, Any]:  # fmt: skip
        """Ask its agent.

        Raises: the AmpzeroError that the agent answered, or UnreachableError.
        """
        assert self.channel is not None  # noqa: S101 -- as above
        return self.channel.call(op, body, timeout=timeout, heard=heard, **fields)

    def ask(self) -> Facts:
        """Its facts, now."""
        begun = time.time()
        said = self.call("hello", timeout=HELLO_TIME)
        ended = time.time()
        self._facts = facts(said, self.name)
        self.skew = self._facts.clock - (begun + ended) / 2
        return self._facts


class Fleet:
    """All hosts of one environment. Use as a context manager: it closes every channel."""

    def __init__(self, hosts: Iterable[Host], opener: Opener, progress: Progress) -> None:
        self.members = [Member(host) for host in hosts]
        self._opener = opener
        self._progress = progress
        self._pool = ThreadPoolExecutor(max_workers=max(1, len(self.members)), thread_name_prefix="host")

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self.members:
            if member.channel is not None:
                member.channel.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def alive(self) -> list[Member]:
        """The members that still take part."""
        return [member for member in self.members if member.error is None]

    @property
    def facts(self) -> dict[str, Facts]:
        """What they said last about themselves, by name."""
        return {member.name: member.facts for member in self.alive}

    @property
    def lost(self) -> list[Member]:
        """Those that do not."""
        return [member for member in self.members if member.error is not None]

    def connect(self, names: Iterable[str] = ()) -> list[Member]:
        """Open the channels, all or those of `names`, and ask for the facts; the members that answered."""
        wanted = set(names) or {member.name for member in self.members}

        def begin(member: Member) -> None:
            self._progress.host(member.name, "connecting")
            member.channel = self._opener(member.host)
            member.ask()
            self._progress.host(member.name, "connected")

        chosen = [member for member in self.members if member.name in wanted]
        self.each(chosen, begin)
        return [member for member in chosen if member.error is None]

    def each(
        self, members: Iterable[Member], work: Callable[[Member], T], *,
        meanwhile: Callable[[Member], object] | None = None, every: float = 1.0,
    ) -> dict[str, T]:  # fmt: skip
        """Do `work` with each member at once; the results of those where it succeeded, by name.

        A member where it failed is out: its `error` is set, and told. While others are still at it, those
        that are done get `meanwhile`, every so many seconds.
        """
        asked = {self._pool.submit(work, member): member for member in members}
        left = set(asked)
        while left:
            _, left = wait(left, every if meanwhile else None)
            if meanwhile and left:
                ready = [asked[future] for future in asked if future.done() and future.exception() is None]
                wait([self._pool.submit(_quietly, meanwhile, member) for member in ready])
        results: dict[str, T] = {}
        for future, member in asked.items():
            try:
                results[member.name] = future.result()
            except AmpzeroError as error:
                member.error = error
                self._progress.failed(member.name, error.message)
        return results

    def tell(self, op: str, timeout: float, **fields: Any) -> None:
        """Ask all hosts that were ever reached for something that may fail without harm."""

        def ask(member: Member) -> None:
            member.call(op, timeout=timeout, **fields)

        reached = [member for member in self.members if member.channel is not None]
        for future in [self._pool.submit(_quietly, ask, member) for member in reached]:
            future.result()


def _quietly(work: Callable[[Member], object], member: Member) -> None:
    with suppress(AmpzeroError):
        work(member)
