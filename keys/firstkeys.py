"""The key material of a user and a host before they have ids, kept in a folder of the user's own (`pending`).

On the disk before any hub hears of it: a try after a crash finds it, and gets the same ids.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec

from keys import keyfile, operation
from keys.datafolder import data_errors
from keys.errors import PassphraseError, TrustError
from keys.keyfile import PrivateKey
from keys.operation import Operation
from keys.reading import read_up_to
from lib.files import write_atomic

PENDING_FILE = "keys.json"
ASKED_FILE = "asked"
"""The names of the hubs that may have heard of the keys."""
MAX_PENDING = 64 * 1024


class Party(msgspec.Struct, forbid_unknown_fields=True):
    """A user or a host before it has an id: its key files' content and its first operation."""

    private: str
    control: str
    operation: str


class Material(msgspec.Struct, forbid_unknown_fields=True):
    """Both of them."""

    user: Party
    host: Party


def provide(folder: Path, hub: str, passphrase: str, now: datetime) -> Material:
    """An earlier try's material, or else new one that is on the disk now; `hub` is the name of whom to ask.

    Raises: PassphraseError where the earlier try had another passphrase; TrustError, StorageError.
    """
    path = folder / PENDING_FILE
    if path.exists():
        try:
            return _reuse(path, passphrase)
        except PassphraseError:
            if hub in _asked(folder):
                raise
            # The hub never heard of these keys: nothing is lost when new ones replace them.
    made = _make(passphrase, now)
    _keep(path, made)
    return made


def _reuse(path: Path, passphrase: str) -> Material:
    """The earlier try's material, encrypted now where it was not and should be."""
    material = _decode(path)
    changed = False
    if not passphrase and keyfile.header(material.user.private.encode()).encrypted:
        raise _other_passphrase(path)
    for party in (material.user, material.host):
        for part in ("private", "control"):
            raw = getattr(party, part).encode()
            try:
                key = keyfile.decode(raw, passphrase, f"{path} ({part})")
            except PassphraseError as error:
                raise _other_passphrase(path) from error
            if passphrase and not keyfile.header(raw).encrypted:
                setattr(party, part, key.encode(passphrase).decode())
                changed = True
    if changed:
        _keep(path, material)
    return material


def _keep(path: Path, material: Material) -> None:
    with data_errors(path.parent):
        write_atomic(path, msgspec.json.encode(material), 0o600, sync=True)


def _asked(pending: Path) -> list[str]:
    """The hubs that may have heard of the keys in `pending`."""
    return (read_up_to(pending / ASKED_FILE, MAX_PENDING) or b"").decode(errors="replace").split()


def note_asked(pending: Path, hub: str) -> None:
    """Remember, before it is so, that a hub may have heard of these keys.

    Raises: StorageError.
    """
    asked = _asked(pending)
    if hub not in asked:
        with data_errors(pending):
            write_atomic(pending / ASKED_FILE, "\n".join([*asked, hub, ""]), 0o600, sync=True)


def _other_passphrase(path: Path) -> PassphraseError:
    return PassphraseError(
        "an earlier try for this instance was interrupted, and it had another passphrase",
        f"give that passphrase; or remove {path.parent} to begin with new ids",
    )


def _decode(path: Path) -> Material:
    raw = read_up_to(path, MAX_PENDING) or b""
    try:
        return msgspec.json.decode(raw, type=Material)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # also what was cut off
        raise TrustError(
            f"{path} does not hold an interrupted try's keys", f"remove {path.parent} to begin with new ids"
        ) from error


def _make(passphrase: str, now: datetime) -> Material:
    """New keys for a user and a host of that user, and their signed first operations."""
    user, user_control, host, host_control = (PrivateKey.generate() for _ in range(4))
    first = Operation(
        action="register",
        kind="user",
        seq=1,
        time=now,
        signing=user.public,
        control=(user_control.public,),
    )
    second = Operation(
        action="register",
        kind="host",
        owner=first.digest,
        seq=1,
        time=now,
        signing=host.public,
        control=(user_control.public, host_control.public),
    )
    return Material(
        user=Party(
            user.encode(passphrase).decode(),
            user_control.encode(passphrase).decode(),
            str(operation.sign(first, [user, user_control]).note),
        ),
        host=Party(
            host.encode(passphrase).decode(),
            host_control.encode(passphrase).decode(),
            str(operation.sign(second, [host, user_control, host_control], owner=user).note),
        ),
    )
