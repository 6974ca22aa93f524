"""From the root that is trusted to the newest one, version by version, each signed by the one before."""

from __future__ import annotations

from collections.abc import Callable

from keys import root
from keys.errors import HistoryError, TrustError
from keys.hubclient.memory import FIRST, NEWEST, Memory
from keys.hubclient.reference import Reference, fingerprint
from keys.root import Root

MOST_VERSIONS = 64
"""Steps of one walk."""
Fetch = Callable[[str], str]
"""GET of a path: the note."""


def first(fetch: Fetch, reference: Reference) -> str:
    """The root note of version 1, which has the fingerprint that the user was given.

    Raises: TrustError, and what `fetch` raises.
    """
    text = fetch("/v1/hub/1")
    begin = root.verify(text)
    if begin.version != 1 or fingerprint(begin) != reference.fingerprint:
        raise TrustError(
            f"{reference.url} is not the hub with the fingerprint {reference.fingerprint}",
            f"it shows {fingerprint(begin)}: ask its operator which is right, and do not just take this one",
        )
    return text


def newest(fetch: Fetch, memory: Memory, trusted_text: str) -> str:
    """The newest root note that the hub has, vouched for from `trusted_text` on; it is remembered.

    Raises: HistoryError where the hub has less than it had, or two roots of one version; TrustError.
    """
    text = trusted_text
    trusted = root.parse(trusted_text)[0]
    last_text = fetch("/v1/hub")
    last = root.verify(last_text)
    if last.origin != trusted.origin:
        raise TrustError(f"this is the hub {last.origin} and not {trusted.origin}", "is the URL right?")
    if last.version > trusted.version + MOST_VERSIONS:
        raise TrustError(f"the hub {last.origin} says that it has {last.version} versions of its root")
    for version in range(trusted.version + 1, last.version + 1):
        text = last_text if version == last.version else fetch(f"/v1/hub/{version}")
        trusted = root.verify(text, trusted)
    seen_text = memory.read(NEWEST)
    seen = root.parse(seen_text)[0] if seen_text else trusted
    for other, other_text in ((trusted, text), (seen, seen_text)):
        if last.version < other.version:
            raise caught(memory, last, f"went back from root version {other.version} to {last.version}",
                         other_text, last_text)  # fmt: skip
        if last.version == other.version and last != other:
            raise caught(memory, last, f"has two roots of version {last.version}", other_text, last_text)
    if seen_text != text:
        memory.replace(NEWEST, seen_text, text)
    return text


def remember_first(memory: Memory, text: str) -> None:
    """Keep the first root note; another hub of the same name is refused for ever.

    Raises: HistoryError, StorageError.
    """
    begin, seen = root.parse(text)[0], memory.read(FIRST)
    if not seen:
        memory.replace(FIRST, "", text)
    elif root.parse(seen)[0] != begin:
        raise caught(memory, begin, "is not the hub that had this name before", seen, text)


def caught(memory: Memory, hub: Root, what: str, before: str, now: str) -> HistoryError:
    """The error about a hub that did `what`; both notes are kept."""
    path = memory.accuse(f"the hub {hub.origin} {what}", [("seen before", before), ("seen now", now)])
    return HistoryError(
        f"the hub {hub.origin} {what}: somebody lies", f"nothing was changed; the evidence is {path}"
    )
