"""Where a machine keeps the authorities that it trusts: the system's store, and those of browsers.

Firefox and Chromium have databases of their own (NSS, by `certutil`). Nothing here is done unless it is asked
for; each store says in words what it is about to do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lib.errors import AmpzeroError, MissingError

ANCHORS = (
    ("/usr/local/share/ca-certificates", ("update-ca-certificates",), "Debian, Ubuntu"),
    ("/etc/pki/ca-trust/source/anchors", ("update-ca-trust", "extract"), "Fedora, RHEL"),
    ("/etc/pki/trust/anchors", ("update-ca-certificates",), "openSUSE"),
    ("/etc/ca-certificates/trust-source/anchors", ("update-ca-trust",), "Arch"),
)
"""Folders of certificates in PEM format, and the command that takes them up (update-ca-certificates(8),
update-ca-trust(8)); the first of which both are there."""

FIREFOX = (".mozilla/firefox", "snap/firefox/common/.mozilla/firefox",
           ".var/app/org.mozilla.firefox/.mozilla/firefox")  # fmt: skip
"""Folders of profiles, below the home."""
CHROMIUM = (".pki/nssdb", "snap/chromium/current/.pki/nssdb")
"""Databases of Chromium and its kin, below the home."""
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "brave-browser",
             "microsoft-edge", "vivaldi")  # fmt: skip
KEYCHAIN = "/Library/Keychains/System.keychain"
TIME = 120
"""Seconds that one of these programs may take."""


@dataclass(frozen=True)
class Anchor:
    """A CA to trust: its PEM file, its name, and eight hex digits that tell it from others."""

    file: Path
    name: str
    label: str


@dataclass(frozen=True)
class Store:
    """One store, by the command lines that ask and change it. `needs_root`: they are root's to run.

    `make` are command lines to run before the first install, as those that make the store.
    """

    name: str
    ask: tuple[str, ...]
    install: tuple[tuple[str, ...], ...]
    uninstall: tuple[tuple[str, ...], ...]
    needs_root: bool = False
    make: tuple[tuple[str, ...], ...] = field(default=())

    def has(self) -> bool:
        """Whether the authority is in it."""
        return run(self.ask).returncode == 0

    def words(self, commands: Sequence[tuple[str, ...]]) -> list[str]:
        """The command lines as they would be run."""
        return [" ".join(self._argv(argv)) for argv in commands]

    def change(self, commands: Sequence[tuple[str, ...]]) -> None:
        """Run them.

        Raises: MissingError, AmpzeroError with what a program said.
        """
        for argv in commands:
            done = run(self._argv(argv), ask=self.needs_root)
            if done.returncode:
                said = (done.stderr or done.stdout or "").strip().splitlines() or [f"exit {done.returncode}"]
                raise AmpzeroError(f"{self.name}: `{' '.join(argv)}` failed: {said[-1][:300]}")

    def _argv(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        return ("sudo", "--", *argv) if self.needs_root and os.geteuid() != 0 else argv


def stores(anchor: Anchor, home: Path, path: str | None = None) -> list[Store]:
    """The stores of this machine, and those of the browsers of the user whose home that is."""
    found = [*_system(anchor, path)]
    certutil = shutil.which("certutil", path=path)
    if certutil:
        found += [_nss(certutil, database, words, anchor) for words, database in databases(home, path)]
    return found


def without_certutil(home: Path, path: str | None = None) -> list[str]:
    """The browsers whose store cannot be changed, as certutil is not installed."""
    return [] if shutil.which("certutil", path=path) else [words for words, _ in databases(home, path)]


def databases(home: Path, path: str | None = None) -> Iterator[tuple[str, Path]]:
    """The NSS databases below `home`: in words, and the folder."""
    for profiles in FIREFOX:
        for database in sorted((home / profiles).glob("*/cert9.db")):
            yield f"Firefox ({database.parent.name})", database.parent
    for place in CHROMIUM:
        folder = home / place
        # Chromium looks there for what its user trusts, and does not make it itself.
        wanted = place == CHROMIUM[0] and any(shutil.which(name, path=path) for name in CHROMIUMS)
        if wanted or (folder / "cert9.db").exists():
            yield f"Chromium ({folder})", folder


def _system(anchor: Anchor, path: str | None) -> Iterator[Store]:
    if sys.platform == "darwin":
        yield _keychain(anchor)
        return
    for place, update, _ in ANCHORS:
        folder = Path(place)
        if folder.is_dir() and shutil.which(update[0], path=path or _with_sbin()):
            target = str(folder / f"ampzero-local-ca-{anchor.label}.crt")
            yield Store(
                f"this system ({folder})", ask=("cmp", "-s", str(anchor.file), target),
                install=(("install", "-m", "644", str(anchor.file), target), update),
                uninstall=(("rm", "-f", target), update), needs_root=True,
            )  # fmt: skip
            return


def _keychain(anchor: Anchor) -> Store:
    """security(1) of macOS; Safari, Chrome and curl ask it."""
    file = str(anchor.file)
    return Store(
        "this system (keychain)", ask=("security", "verify-cert", "-c", file),
        install=(("security", "add-trusted-cert", "-d", "-r", "trustRoot", "-k", KEYCHAIN, file),),
        uninstall=(("security", "remove-trusted-cert", "-d", file),), needs_root=True,
    )  # fmt: skip


def _nss(certutil: str, folder: Path, words: str, anchor: Anchor) -> Store:
    """certutil(1) of NSS. `C,,` trusts it to vouch for TLS servers, and for nothing else."""
    database = ("-d", f"sql:{folder}")
    name = ("-n", anchor.name)
    make: tuple[tuple[str, ...], ...] = ()
    if not (folder / "cert9.db").exists():
        make = (
            ("install", "-d", "-m", "700", str(folder.parent), str(folder)),
            (certutil, "-N", *database, "--empty-password"),
        )
    return Store(
        words, ask=(certutil, "-L", *database, *name), make=make,
        install=((certutil, "-A", *database, "-t", "C,,", *name, "-i", str(anchor.file)),),
        uninstall=((certutil, "-D", *database, *name),),
    )  # fmt: skip


def run(argv: Sequence[str], *, ask: bool = False) -> subprocess.CompletedProcess[str]:
    """Run one program; with `ask` it may talk to the terminal, as sudo does for a password.

    Raises: MissingError, AmpzeroError.
    """
    environment: Mapping[str, str] = {**os.environ, "PATH": _with_sbin(), "LC_ALL": "C"}
    try:
        return subprocess.run(
            argv, env=environment, capture_output=True, text=True, errors="replace", timeout=TIME,
            check=False, stdin=None if ask else subprocess.DEVNULL,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise MissingError(f"no program {argv[0]}", "install it, or run this as root") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AmpzeroError(f"`{' '.join(argv)}` cannot be run: {error}") from error


def _with_sbin() -> str:
    """$PATH and where programs of the system are, which an ordinary user's does not name."""
    return os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
