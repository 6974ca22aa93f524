"""An instance's keys for the verbs of `ampzero keys`: found, and opened with passphrases."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from keys.identities import Identities
    from keys.lifecycle.keyring import Keyring

NAME = click.argument("name", metavar="NAME")
PASSPHRASES = click.option("--passphrase-file", "files", multiple=True, metavar="FILE",
                           help="Open keys with the first line of FILE; may be given again.")  # fmt: skip


def folder_of(name: str) -> Path:
    """The folder of the key files of the instance `name`.

    Raises: MissingError, UsageError.
    """
    from lib.instance import find

    return find(name) / "ampnode"


def loaded(folder: Path) -> Identities:
    """The identities in `folder`; what is wrong with them but can be lived with is said.

    Raises: MissingError, TrustError, StorageError, AmpzeroError.
    """
    import lib.console as console
    from keys.identities import load_identities

    found = load_identities(folder)
    for warning in found.warnings:
        console.warn(warning)
    return found


def open_ring(folder: Path, files: tuple[str, ...]) -> Keyring:
    """The secret keys in `folder`; passphrases are in `files`, or asked for.

    Raises: as `loaded` and `passphrase_in`.
    """
    from keys.lifecycle.keyring import Keyring

    given = [passphrase_in(Path(file)) for file in files]
    return Keyring(loaded(folder), given, lambda path: _ask(path, given), lambda: _choose(given))


def passphrase_in(path: Path) -> str:
    """The first line of a file.

    Raises: MissingError, StorageError, UsageError.
    """
    from keys.keyfile import check_passphrase
    from keys.reading import read_passphrase
    from lib.errors import UsageError

    text = read_passphrase(path)
    if not text:
        raise UsageError(f"{path}: its first line is empty", "leave --passphrase-file away for none")
    check_passphrase(text)
    return text


def new_passphrase() -> str:
    """A passphrase that is asked for twice; empty for none."""
    import lib.console as console
    from keys.keyfile import check_passphrase
    from lib.errors import UsageError

    while True:
        text = _hidden("passphrase (Enter for none; keys without one stay out of git)")
        try:
            check_passphrase(text)
        except UsageError as error:
            console.error(error.message, error.hint)
            continue
        if not text or _hidden("again") == text:
            return text
        console.error("these are not the same")


def _hidden(label: str) -> str:
    """One question whose answer is not shown."""
    return str(click.prompt(label, default="", hide_input=True, show_default=False, err=True))


def _ask(path: Path, given: list[str]) -> str:
    from keys.errors import PassphraseError
    from lib.errors import UsageError

    if sys.stdin.isatty():
        return str(click.prompt(f"passphrase of {path.name}", hide_input=True, err=True))
    if given:
        raise PassphraseError(f"wrong passphrase for {path}", "try again; nothing was changed")
    raise UsageError(f"{path} is encrypted", "--passphrase-file FILE opens it where nobody can be asked")


def _choose(given: list[str]) -> str:
    return given[0] if given else new_passphrase() if sys.stdin.isatty() else ""
