"""Calls of a hub: what its answers' statuses mean, and asking again when it has too much to do."""

from __future__ import annotations

import random
import time
from typing import TypeVar

import msgspec

from keys.errors import BusyError, HeadError, QuotaError, TrustError
from keys.fields import MAX_BODY
from keys.hubclient.transport import MAX_ANSWER, Answer, Transport
from keys.hubwire import Trouble
from lib.errors import AmpzeroError, MissingError, RefusedError, UnreachableError

PATIENCE = 30.0
"""Seconds for which a busy hub is asked again; every call may be made twice (docs/hub.md)."""
SHORTEST_WAIT = 0.5
Kind = TypeVar("Kind")


class Asking:
    """Asks the hub at `url`; `deadline` is for one request, `patience` for the waits between them."""

    def __init__(self, url: str, *, patience: float = PATIENCE, transport: Transport | None = None) -> None:
        self.transport = transport or Transport(url)
        self.url = self.transport.url
        self._patience = patience

    def note(self, path: str, limit: int = MAX_BODY, patience: float | None = None) -> str:
        """GET a text.

        Raises: as `answer`.
        """
        return self.answer("GET", path, limit=limit, patience=patience).text

    def fields(
        self, method: str, path: str, kind: type[Kind], body: bytes | None = None,
        headers: dict[str, str] | None = None, patience: float | None = None,
    ) -> Kind:  # fmt: skip
        """A call whose answer is JSON of the shape `kind`.

        Raises: as `answer`.
        """
        got = self.answer(method, path, body, headers, patience=patience)
        try:
            return msgspec.json.decode(got.body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise TrustError(
                f"the hub {self.url} answered {path} with what is none of a hub's answers"
            ) from error

    def answer(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None,
        limit: int = MAX_ANSWER, patience: float | None = None,
    ) -> Answer:  # fmt: skip
        """The answer of a call that succeeded; asked again, within `patience`, while the hub is busy.

        Raises: UnreachableError, BusyError, TrustError, and by its status MissingError, RefusedError,
        QuotaError, HeadError.
        """
        end = time.monotonic() + (self._patience if patience is None else patience)
        while True:
            got = self.transport.ask(method, path, body, headers, limit)
            if got.status == 200:
                return got
            wait = max(got.retry_after, SHORTEST_WAIT) * random.uniform(1.0, 1.2)  # noqa: S311 -- no secret
            passes = got.status in (429, 503) and not _trouble(got).quota
            if not passes or time.monotonic() + wait > end:
                raise self._error(path, got)
            time.sleep(wait)

    def _error(self, path: str, got: Answer) -> AmpzeroError:
        """What an answer that is no success says; its words are the hub's, so they are cut and cleaned."""
        trouble = _trouble(got)
        text = f"the hub {self.url}: {_clean(trouble.error) or f'status {got.status} for {path}'}"
        hint = _clean(trouble.hint)
        if got.status == 409:
            return HeadError(text, hint, head=_clean(trouble.head))
        if got.status == 404:
            return MissingError(text, hint)
        if got.status == 403:
            return RefusedError(text, hint)
        if got.status == 429 and trouble.quota:
            return QuotaError(text, hint, int(got.retry_after))
        if got.status in (429, 503):
            again = f"try again in {got.retry_after:g} s" if got.retry_after else "try again later"
            return BusyError(text, hint or again, got.retry_after)
        if got.status in (400, 413):
            return TrustError(text, hint)
        if got.status >= 500:
            return UnreachableError(text, hint or "try again later")
        return TrustError(f"{text} (status {got.status})", hint or "is the URL a hub's?")


def _trouble(got: Answer) -> Trouble:
    try:
        return msgspec.json.decode(got.body, type=Trouble)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Trouble("")


def _clean(text: str) -> str:
    """At most 200 printable characters of `text`: it goes to a terminal."""
    return "".join(char if char.isprintable() else " " for char in text[:200]).strip()
