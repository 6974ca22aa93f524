"""Which hub the keys of an instance belong to: the one inside this program, or a server."""

from __future__ import annotations

from pathlib import Path

from keys import root
from keys.fields import MAX_BODY
from keys.hub import LocalHub
from keys.hubapi import HubApi
from keys.hubclient.client import HubClient
from keys.hubclient.reference import parse_reference
from keys.identities import HUB_FILE
from keys.reading import read_public
from lib.errors import MissingError

LOCAL = "local"


def root_note(folder: Path) -> str:
    """The root note beside the key files in `folder`.

    Raises: MissingError, StorageError.
    """
    return read_public(folder / HUB_FILE, MAX_BODY).decode(errors="replace")


def open_hub(folder: Path) -> HubApi:
    """The hub of the key files in `folder` (an instance's `ampnode`). A server is not asked yet.

    Raises: MissingError, StorageError, TrustError, AmpzeroError.
    """
    text = root_note(folder)
    known = root.verify(text)
    if known.url != root.NO_URL:
        return HubClient.known(text)
    hub = LocalHub.open()
    if hub.name != known.origin:
        raise MissingError(
            f"the keys in {folder} are of the local hub {known.origin}, the one of this user is {hub.name}",
            "restore the folder `hub` of the data folder from your back-up (docs/keys.md)",
        )
    return hub


def named_hub(text: str) -> HubApi:
    """The hub that a user names: `local`, or URL#FINGERPRINT, which is asked now who it is.

    Raises: UsageError, UnreachableError, TrustError, HistoryError, StorageError, AmpzeroError.
    """
    if text == LOCAL:
        return LocalHub.open()
    return HubClient.connect(parse_reference(text))
