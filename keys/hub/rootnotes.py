"""The hub's root notes, version by version, in its folder; and how the next one is made.

root.note is the newest, root.1.note and so on are those before it. The root keys can, and on a server
should, be elsewhere: `draft` makes the next version's text, `add_signature` signs it wherever a root key is,
`install` puts it in place once enough keys of both versions have signed.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from keys import keyfile, note, root
from keys.datafolder import data_errors
from keys.errors import TrustError
from keys.fields import MAX_BODY
from keys.keyfile import PrivateKey
from keys.publickey import PublicKey
from keys.reading import read_up_to
from keys.root import Root, root_name
from lib.errors import MissingError, TakenError
from lib.files import storage_errors, sync_folder, write_atomic, write_new

NEWEST = "root.note"
ONLINE = "online.key"
NEXT_ONLINE = "online.next.key"
"""The online key of the next version, until that one is installed."""


def read(folder: Path, version: int = 0) -> str:
    """The root note `version`, or the newest.

    Raises: MissingError, StorageError, TrustError.
    """
    newest = _read(folder / NEWEST)
    if version in (0, root.parse(newest)[0].version):
        return newest
    return _read(folder / f"root.{version}.note")


def online_key(folder: Path, newest: Root) -> PrivateKey:
    """The key that signs now. A next one that has become the one is put in its place.

    Raises: TrustError where none fits; MissingError, StorageError, AmpzeroError.
    """
    following = folder / NEXT_ONLINE
    if following.exists() and keyfile.header(keyfile.read(following)).public == newest.online:
        with storage_errors(following):
            following.replace(folder / ONLINE)
            sync_folder(folder)
    path = folder / ONLINE
    key = keyfile.load(path) if path.exists() else None
    if key is None or key.public != newest.online:
        raise TrustError(
            f"{folder / NEWEST} and {ONLINE} do not belong together", f"restore {folder} from a back-up"
        )
    return key


def next_online_key(folder: Path) -> PublicKey:
    """The online key for a next version, made in `folder` where there is none yet; it stays there.

    Raises: StorageError, TrustError.
    """
    path = folder / NEXT_ONLINE
    if not path.exists():
        with data_errors(folder):
            write_new(path, PrivateKey.generate().encode(), 0o600, sync=True)
    return keyfile.load(path).public


def draft(
    current: Root, now: datetime, *, url: str = "", online: PublicKey | None = None,
    roots: tuple[PublicKey, ...] = (), threshold: int = 0,
) -> str:  # fmt: skip
    """The text of the version after `current`; what is not given stays. Nobody has signed it.

    Raises: TrustError where it makes no sense.
    """
    following = replace(
        current, version=current.version + 1, issued=now, url=url or current.url,
        online=online or current.online, roots=roots or current.roots,
        threshold=threshold or current.threshold,
    )  # fmt: skip
    return root.parse_text(following.text).text


def add_signature(raw: str, key: note.SigningKey) -> str:
    """The draft, or the note that others have signed already, signed by the root key `key` too. Needs no hub.

    Raises: TrustError.
    """
    so_far = root.parse(raw)[1] if "\n\n" in raw else note.Note(raw, ())
    origin = root.parse_text(so_far.text).origin
    new = note.sign(so_far.text, [(root_name(origin), key)]).signatures
    others = [signature for signature in so_far.signatures if signature not in new]
    return str(note.Note(so_far.text, (*others, *new)))


def install(folder: Path, text: str) -> Root:
    """Make `text` the newest root note. A server that is running takes it when it is started again.

    Raises: TrustError where it is not signed by enough keys of both versions; MissingError where the online
    key that it names is not in `folder`; TakenError where another was installed meanwhile; StorageError.
    """
    old_text = read(folder)
    current = root.verify(old_text)
    following = root.verify(text, current)
    if following == current:
        return current
    if following.online != current.online:
        path = folder / NEXT_ONLINE
        if not path.exists() or keyfile.header(keyfile.read(path)).public != following.online:
            raise MissingError(
                f"{path} is not the online key that version {following.version} names",
                "make the draft from the key that is there",
            )
    kept = folder / f"root.{current.version}.note"
    with data_errors(folder):
        if not write_new(kept, old_text, 0o600, sync=True) and _read(kept) != old_text:
            raise TakenError(f"{kept} is another version {current.version}", "restore it from a back-up")
        write_atomic(folder / NEWEST, text, 0o600, sync=True)
    online_key(folder, following)
    return following


def _read(path: Path) -> str:
    raw = read_up_to(path, MAX_BODY)
    if raw is None:
        raise MissingError(f"no root note {path.name}", f"restore {path} from a back-up")
    return raw.decode(errors="replace")
