"""One request to an agent, while it is answered."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import cached_property
from typing import Any

from deploy.agent import facts
from deploy.agent.driver import Drivers
from deploy.agent.errors import AgentError
from deploy.agent.instance import InstanceControl
from deploy.agent.layout import Layout
from deploy.agent.switch import Switch

Events = Callable[[dict[str, Any]], None]
USAGE = 2
"""Exit code of lib/errors.py."""


class Call:
    """One request: its fields, checked when they are asked for, and what works on it."""

    def __init__(
        self, layout: Layout, request: dict[str, Any], body: bytes, events: Events,
        drivers: Drivers | None = None,
    ) -> None:  # fmt: skip
        """`drivers` are those of the connection; without them each call has its own."""
        self.layout = layout
        self.request = request
        self.body = body
        self._events = events
        self._drivers = drivers
        self._closing = ExitStack()

    def __enter__(self) -> Call:
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.close()

    def text(self, key: str, most: int = 2 * 1024 * 1024) -> str:
        """A field of text. Raises: AgentError."""
        value = self.request.get(key)
        if not isinstance(value, str) or len(value) > most:
            raise AgentError(f"the request's {key} is no text", "", USAGE)
        return value

    def number(self, key: str) -> int:
        """A field that is a number from 0 on. Raises: AgentError."""
        value = self.request.get(key)
        if type(value) is not int or not 0 <= value < 2**53:
            raise AgentError(f"the request's {key} is no number", "", USAGE)
        return value

    def tell(self, event: dict[str, Any]) -> None:
        """Tell the coordinator something before the answer."""
        self._events(event)

    def say(self, line: str) -> None:
        """Tell the coordinator a line of output."""
        self._events({"line": line})

    @cached_property
    def control(self) -> InstanceControl:
        """The instance on this host. Raises: AgentError."""
        drivers = self._drivers or self._closing.enter_context(closing(Drivers()))
        return InstanceControl(self.layout, facts.host(self.layout)["instance"], self.say, drivers)

    @property
    def switch(self) -> Switch:
        """The steps of the deploy that is under way. Raises: AgentError."""
        return Switch(self.layout, self.control)
