"""An instance's keys in a folder of a test's own, and the changes of them, without any command."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import cast

import pytest

from keys.hub import LocalHub
from keys.hubapi import HubApi
from keys.identities import Identities, create_identities, finish_pending, load_identities
from keys.lifecycle import drafts
from keys.lifecycle.changing import Changing, Outcome
from keys.lifecycle.drafts import Planner
from keys.lifecycle.keyring import Keyring
from keys.lifecycle.verifying import verify_folder


def never(*_: object) -> str:
    """Nobody is asked for a passphrase."""
    raise AssertionError("a passphrase was asked for")


class KeysPlace:
    """A user's data folder with its hub, and the keys of an instance."""

    def __init__(self, base: Path, patch: pytest.MonkeyPatch, passphrase: str = "") -> None:
        self.base = base
        patch.setenv("XDG_DATA_HOME", str(base))
        self.data = base / "ampzero"
        self.folder = base / "app/ampnode"
        self.passphrase = passphrase
        if not self.folder.exists():
            self.folder.mkdir(parents=True)
            pending = self.data / "pending/first"
            create_identities(self.folder, hub=LocalHub.open(), pending=pending, passphrase=passphrase)
            finish_pending(pending)

    def copy(self, base: Path, patch: pytest.MonkeyPatch) -> KeysPlace:
        """The same once more, in another folder."""
        shutil.copytree(self.base, base)
        return KeysPlace(base, patch, self.passphrase)

    @property
    def hub(self) -> HubApi:
        """The hub of this user."""
        return cast(HubApi, LocalHub.open())

    @property
    def found(self) -> Identities:
        """The keys as they are read back."""
        return load_identities(self.folder)

    def ring(self) -> Keyring:
        """Their secrets."""
        return Keyring(
            self.found, [self.passphrase] if self.passphrase else [], never, lambda: self.passphrase
        )

    def change(
        self, command: str, planner: Planner, *, hub: HubApi | None = None, follow: bool = False
    ) -> Outcome:
        """Carry out a change."""
        changing = Changing(self.folder, hub or self.hub, self.ring())
        return changing.completed(command) or changing.carry_out(command, planner, follow=follow)

    def do(self, words: str) -> Outcome:
        """A change in the words of the command line."""
        verb, who, *options = words.split()
        if verb == "rotate":
            return self.change(words, drafts.rotate(who, control=bool(options)))
        if verb == "revoke":
            return self.change(words, drafts.revoke(who))
        return self.change(words, drafts.recover(who, self.ring().need("user", "control")), follow=True)

    def seqs(self) -> tuple[int, int]:
        """How many operations the hub has of the user and of the host."""
        found = self.found
        return len(self.hub.operations(found.user_id)), len(self.hub.operations(found.host_id))

    def problems(self) -> list[str]:
        """What is wrong with the keys, asked at the hub as well."""
        return verify_folder(self.folder, self.hub).problems
