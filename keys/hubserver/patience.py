"""An HTTP connection that is closed when nobody speaks on it: uvicorn waits for a request's head for ever.

Who opens many connections and sends a byte now and then would otherwise keep everybody else out.
"""

from __future__ import annotations

import asyncio
from typing import Any

HEAD_SECONDS = 10.0
"""For a request's head to come, from the connection or its first byte on."""


def patient(protocol: type[Any], seconds: float = HEAD_SECONDS) -> type[asyncio.Protocol]:
    """uvicorn's `protocol`, h11's or httptools', with a deadline for heads."""

    class Patient(protocol):  # type: ignore[misc]  # which of the two is known when it runs
        """One connection."""

        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            """As uvicorn's."""
            super().connection_made(transport)
            self._late = self.loop.call_later(seconds, transport.close)

        def data_received(self, data: bytes) -> None:
            """As uvicorn's; a head that is whole has begun a cycle."""
            if self._late is None:
                self._late = self.loop.call_later(seconds, self.transport.close)
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._end()

        def connection_lost(self, error: Exception | None) -> None:
            """As uvicorn's."""
            self._end()
            super().connection_lost(error)

        def _end(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

    return Patient
