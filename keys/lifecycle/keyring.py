"""The secret keys of an instance, opened when they are needed; each passphrase is asked for once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from keys import keyfile
from keys.errors import PassphraseError, TrustError
from keys.identities import Identities
from keys.keyfile import PrivateKey
from lib.errors import MissingError

LOST = "ampzero keys recover"
ALL = (("user", "control"), ("user", "private"), ("host", "control"), ("host", "private"))


class Keyring:
    """`given` passphrases are tried first; `ask` gives that of a key file which none of them opens.

    `choose` gives the passphrase of new keys where no file is there to take it from.
    """

    def __init__(
        self, identities: Identities, given: Sequence[str], ask: Callable[[Path], str],
        choose: Callable[[], str],
    ) -> None:  # fmt: skip
        self.identities = identities
        self._given = tuple(given)
        self._ask = ask
        self._choose = choose
        self._chosen: str | None = None
        self._known: dict[Path, str] = {}

    def open(self, path: Path) -> PrivateKey:
        """The key in any file; a passphrase that opened another is tried before anybody is asked.

        Raises: MissingError, PassphraseError, TrustError, StorageError, AmpzeroError.
        """
        raw = keyfile.read(path)
        if not keyfile.header(raw, str(path)).encrypted:
            return keyfile.decode(raw, "", str(path))
        for passphrase in dict.fromkeys((*self._known.values(), *self._given)):
            try:
                key = keyfile.decode(raw, passphrase, str(path))
            except PassphraseError:
                continue
            self._known[path] = passphrase
            return key
        passphrase = self._ask(path)
        key = keyfile.decode(raw, passphrase, str(path))
        self._known[path] = passphrase
        return key

    def find(self, kind: str, part: str) -> PrivateKey | None:
        """The "private" or "control" key of "user" or "host"; None where its file is not here.

        Raises: as `open`.
        """
        path = self.identities.path(kind, part)
        if not path.exists():
            return None
        key = self.open(path)
        said = self.identities.user if kind == "user" else self.identities.host
        if key.public not in ([said.signing] if part == "private" else [one.key for one in said.control]):
            raise TrustError(f"{path} is not a key of {said.id}", "restore it from your back-up")
        return key

    def need(self, kind: str, part: str) -> PrivateKey:
        """As `find`.

        Raises: MissingError where its file is not here, and as `open`.
        """
        key = self.find(kind, part)
        if key is None:
            path = self.identities.path(kind, part)
            raise MissingError(f"no key file {path}", f"restore it from your back-up; or: {LOST}")
        return key

    def encode(self, key: PrivateKey, kind: str, part: str) -> str:
        """The content of a new file in the place of this one, encrypted as this one is.

        Raises: as `open`; UsageError.
        """
        for path in (self.identities.path(kind, part), *(self.identities.path(*each) for each in ALL)):
            if path.exists():
                encrypted = keyfile.header(keyfile.read(path), str(path)).encrypted
                if encrypted and path not in self._known:
                    self.open(path)
                return key.encode(self._known[path] if encrypted else "").decode()
        return key.encode(self.chosen()).decode()

    def chosen(self) -> str:
        """The passphrase for keys that have no predecessor here; asked for once."""
        if self._chosen is None:
            self._chosen = self._choose()
        return self._chosen
