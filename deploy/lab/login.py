"""How one logs in to the hosts of a lab: its own key, the hosts' keys, and a configuration for ssh -F."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from deploy.lab.tools import run
from lib.files import make_folder, storage_errors, write_atomic


class Login:
    """The files of a lab's `ssh/` folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / "key"
        self.known_hosts = folder / "known_hosts"
        self.config = folder / "config"

    def make_key(self) -> str:
        """Make the key that every host lets in as root; its public half.

        Raises: StorageError, AmpzeroError.
        """
        make_folder(self.folder, 0o755)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ampzero lab", "-f", str(self.key)])
        with storage_errors(self.key):
            return self.key.with_suffix(".pub").read_text()

    def describe(self, hosts: Mapping[str, str], keys: Mapping[str, str]) -> None:
        """Write known_hosts and the configuration, for hosts with their addresses and their public keys.

        Raises: StorageError.
        """
        known = "".join(f"{name},{hosts[name]} {' '.join(key.split()[:2])}\n" for name, key in keys.items())
        write_atomic(self.known_hosts, known)
        lines = [
            f"Host {' '.join([*hosts, *hosts.values()])}",
            "  User root",
            f"  IdentityFile {self.key}",
            "  IdentitiesOnly yes",
            f"  UserKnownHostsFile {self.known_hosts}",
            "  StrictHostKeyChecking yes",
        ]
        for name, address in hosts.items():
            lines += [f"Host {name}", f"  HostName {address}"]
        write_atomic(self.config, "\n".join(lines) + "\n")
        self._give_to_whoever_asked()

    def _give_to_whoever_asked(self) -> None:
        """Behind sudo the user who typed it shall be able to log in: ssh takes no key that others own."""
        owner, group = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
        if owner.isdigit() and group.isdigit():
            with storage_errors(self.folder):
                for path in (self.folder, *self.folder.iterdir()):
                    os.chown(path, int(owner), int(group))
