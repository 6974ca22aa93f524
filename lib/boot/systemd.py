"""systemd keeps the instance: a unit of Type=notify, of the system or of one user."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from lib import running
from lib.boot.base import State, environment, run
from lib.errors import AmpzeroError, MissingError, TakenError
from lib.exporters.base import Target
from lib.exporters.quoting import unit_path, unit_word
from lib.exporters.systemd import base_name, instance_unit, unit_folder
from lib.files import make_folder, storage_errors, write_atomic

LINGERING = Path("/var/lib/systemd/linger")
"""Where logind keeps a file for each user whose service manager starts with the machine."""


class Systemd:
    """One instance's unit."""

    name = "systemd"

    def __init__(self, target: Target, arguments: tuple[str, ...]) -> None:
        self._target = target
        self._arguments = arguments
        self._unit = f"{base_name(target)}.service"
        self._path = unit_folder(target.user) / self._unit
        self._systemctl = ("systemctl", *(("--user",) if target.user else ()))

    def text(self) -> str:
        """The unit."""
        lines = "".join(
            f"Environment={unit_word(f'{name}={value}')}\n"
            for name, value in environment(self._target).items()
            if name != "PATH" and not (name == "HOME" and not self._target.user)
        )
        return instance_unit(self._target, self._arguments).replace("[Service]\n", f"[Service]\n{lines}")

    def install(self) -> list[str]:
        """Write the unit, enable and start it.

        Raises: TakenError (another folder's instance has that name, or it runs without a keeper),
        StorageError, AmpzeroError.
        """
        instance = self._target.instance
        where = f"WorkingDirectory={unit_path(str(instance.directory))}\n"
        if self._path.exists() and where not in self._path.read_text():
            raise TakenError(
                f"{self._path} belongs to another instance of this name", "give this one another name"
            )
        self._reload()
        if running.is_running(instance) and self._ask("is-active") != "active":
            raise TakenError(
                f"{instance.name} is running, and its supervisor would stand in the way of the kept one",
                "stop it first: ampzero stop",
            )
        if self._target.user:
            make_folder(self._path.parent)
        write_atomic(self._path, self.text(), 0o644)
        self._reload()
        try:
            run(*self._systemctl, "enable", "--now", self._unit)
        except AmpzeroError as error:
            reader = "journalctl --user" if self._target.user else "journalctl"
            raise AmpzeroError(
                f"{instance.name} does not start: {error}",
                f"read it with: {reader} -eu {self._unit}; ampzero boot remove undoes this",
            ) from error
        said = [f"wrote {self._path}", f"systemd keeps it: {' '.join(self._systemctl)} status {self._unit}"]
        return [*said, f"at boot: {self._at_boot()}"]

    def start(self) -> None:
        """Start the unit. Raises: MissingError when it is not installed, AmpzeroError."""
        if not self._path.exists():
            raise MissingError(f"there is no {self._path}", "install it: ampzero boot install")
        run(*self._systemctl, "start", self._unit)

    def remove(self) -> list[str]:
        """Stop and disable the unit, and remove it. Raises: StorageError, AmpzeroError."""
        if not self._path.exists():
            return []
        self._reload()
        run(*self._systemctl, "disable", "--now", self._unit)
        with storage_errors(self._path):
            self._path.unlink()
        self._reload()
        return [f"removed {self._path}"]

    def state(self) -> State:
        """What systemd says."""
        active = self._ask("is-active") or "out of reach: the user has no service manager"
        return State(
            self.name, self._path.exists(), active == "active", self._at_boot(), f"{self._unit} is {active}"
        )

    def _ask(self, what: str) -> str:
        return run(*self._systemctl, what, self._unit, good=tuple(range(256))).strip()

    def _at_boot(self) -> str:
        if self._ask("is-enabled") != "enabled":
            return "nothing starts it"
        if not self._target.user or lingers(os.getuid()):
            return "systemd starts it"
        return "nothing starts it before you log in; systemd does with: loginctl enable-linger"

    def _reload(self) -> None:
        """Have systemd read its units. Raises: AmpzeroError, also when it cannot be spoken to."""
        try:
            run(*self._systemctl, "daemon-reload")
        except AmpzeroError as error:
            if self._target.user:
                error.hint = (
                    "you need a service manager of your own: log in, or have loginctl enable-linger run; "
                    "XDG_RUNTIME_DIR must be set"
                )
            raise


def lingers(uid: int) -> bool:
    """Whether the service manager of the user runs from boot on: loginctl(1), enable-linger."""
    name = pwd.getpwuid(uid).pw_name
    return (LINGERING / name).exists()
