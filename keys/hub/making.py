"""A new hub: its two keys and its first root note, in its folder."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from pathlib import Path

from keys import keyfile, note, root
from keys.datafolder import data_errors, private_folder
from keys.fields import parse_origin
from keys.hub.rootnotes import NEWEST, ONLINE
from keys.keyfile import PrivateKey
from keys.root import NO_URL, Root, root_name
from lib.errors import TakenError
from lib.files import write_new

ROOT_KEY = "root.key"
"""Where a new hub's root key is made. A server does not need it: keep it elsewhere."""


def make(folder: Path, origin: str, url: str, now: datetime) -> str:
    """Make the server hub `origin` in `folder`, and return its root note.

    A try that was killed is completed by the next one.

    Raises: TakenError where a hub is in the folder; TrustError for a name or URL that is none; StorageError,
    AmpzeroError.
    """
    parse_origin(origin)
    private_folder(folder)
    if (folder / NEWEST).exists():
        raise TakenError(f"there is a hub in {folder} already", "choose another folder")
    return _make(folder, origin, url, now)


def make_local(folder: Path, now: datetime) -> str:
    """Make the hub inside this program in `folder`; of several processes one wins.

    Its name is a digest of its root key, as nobody hands out names for local hubs.

    Raises: StorageError, TrustError, AmpzeroError.
    """
    public = _own_key(folder / ROOT_KEY).public
    digest = base64.b32encode(hashlib.sha256(public.raw).digest()[:10]).decode().lower()
    return _make(folder, f"local.{digest}", NO_URL, now)


def _make(folder: Path, origin: str, url: str, now: datetime) -> str:
    online, key = _own_key(folder / ONLINE), _own_key(folder / ROOT_KEY)
    first = Root(
        version=1, origin=origin, url=url, online=online.public, roots=(key.public,), threshold=1, issued=now
    )
    root.parse_text(first.text)
    text = str(note.sign(first.text, [(root_name(origin), key)]))
    with data_errors(folder):
        write_new(folder / NEWEST, text, 0o600, sync=True)
    return text


def _own_key(path: Path) -> PrivateKey:
    """The hub's key in `path`, made where it is missing; of several processes one wins."""
    if not path.exists():
        with data_errors(path.parent):
            write_new(path, PrivateKey.generate().encode(), 0o600, sync=True)
    return keyfile.load(path)
