"""The hub that a server serves: the one in its folder, or a new one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from keys import root
from keys.datafolder import data_folder
from keys.hub import Hub, making, rootnotes
from keys.hub.quotas import Options
from keys.hubclient.reference import Reference, check_url, fingerprint, is_loopback
from lib.errors import UsageError

QUOTAS = ("hosts", "registrations", "operations")


def default_folder() -> Path:
    """`hub-server` in the user's data folder.

    Raises: StorageError.
    """
    return data_folder() / "hub-server"


def open_or_make(
    folder: Path, address: tuple[str, int], *, is_tls: bool, origin: str = "", url: str = "",
    database: str = "", options: Options | None = None,
) -> Hub:  # fmt: skip
    """The hub in `folder`, made where there is none, with a name and a URL from `address` where none are
    given.

    Raises: UsageError where another name or URL is asked for than the hub's own; TrustError, StorageError,
    HistoryError, TakenError, AmpzeroError.
    """
    if not (folder / rootnotes.NEWEST).exists():
        chosen = check_url(url) if url else _url(address, is_tls)
        name = origin or _name(chosen)
        making.make(folder, name, chosen, datetime.now(UTC))
    hub = Hub.open(folder, database=database, options=options)
    try:
        if origin and origin != hub.name:
            raise UsageError(f"the hub in {folder} is {hub.name} and not {origin}", "a hub keeps its name")
        if url and check_url(url) != hub.root.url:
            raise UsageError(
                f"the hub in {folder} has the URL {hub.root.url}", "ampzero hub root draft --url changes it"
            )
    except BaseException:
        hub.close()
        raise
    return hub


def quotas(pairs: tuple[str, ...], *, invites: bool) -> Options:
    """The quotas of `NAME=COUNT`, and whether an invite is asked for.

    Raises: UsageError.
    """
    chosen = {}
    for pair in pairs:
        name, _, count = pair.partition("=")
        if name not in QUOTAS or not (count.isascii() and count.isdigit() and len(count) < 10):
            raise UsageError(f"{pair[:60]!r} is not a quota", f"NAME=COUNT, with one of {', '.join(QUOTAS)}")
        chosen[name] = int(count)
    return Options(invites=invites, **chosen)


def reference(hub: Hub) -> Reference:
    """URL#FINGERPRINT.

    Raises: MissingError, StorageError, TrustError.
    """
    return Reference(hub.root.url, fingerprint(root.verify(hub.root_version(1))))


def _url(address: tuple[str, int], is_tls: bool) -> str:
    host, port = address
    if not is_loopback(host):
        raise UsageError("the URL by which others reach this hub is missing", "--url https://hub.example")
    return f"{'https' if is_tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def _name(url: str) -> str:
    """The hub's name: the host of its URL, with its port where that is not https's own."""
    parts = urlsplit(url)
    host = (parts.hostname or "").replace(":", "-").strip("-") or "localhost"
    return host if parts.port in (None, 443) else f"{host}:{parts.port}"
