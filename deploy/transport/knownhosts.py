"""known_hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT): which host keys are trusted, and saying no.

Read with care for its words: plain, wildcard, negated and hashed names, ports, @cert-authority, @revoked.
Nothing is ever added: a key that is not there is for a person to look at.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import hmac
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.transport.hostcertificate import CERTIFICATE, certified_by
from lib.errors import RefusedError

PORT = 22
HASHED = "|1|"
AUTHORITY, REVOKED = "@cert-authority", "@revoked"


@dataclass(frozen=True)
class HostKey:
    """A public key or certificate as a host shows it: its type and its bytes (RFC 4253, 6.6)."""

    kind: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` writes it."""
        digest = hashlib.sha256(self.blob).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    def __str__(self) -> str:
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"


@dataclass(frozen=True)
class Entry:
    """One line. `where` is file:line."""

    marker: str
    patterns: tuple[str, ...]
    key: HostKey
    where: str

    def names(self, name: str) -> bool:
        """Whether the line is about `name`."""
        found = False
        for pattern in self.patterns:
            if pattern.startswith(HASHED):
                found |= _is_hash_of(pattern, name)
            elif fnmatch.fnmatchcase(name, _escaped(pattern.removeprefix("!").lower())):
                if pattern.startswith("!"):
                    return False
                found = True
        return found


class KnownHosts:
    """What some files say together. A file that is not there says nothing."""

    def __init__(self, files: Iterable[Path]) -> None:
        self.files = tuple(files)
        self._entries = [entry for file in self.files for entry in _entries(file)]

    def kinds(self, host: str, port: int) -> list[str]:
        """The types of the keys that are known for a host, AUTHORITY among them where its CA is known."""
        found = [AUTHORITY if entry.marker == AUTHORITY else entry.key.kind
                 for entry in self._about(host, port) if entry.marker != REVOKED]  # fmt: skip
        return list(dict.fromkeys(found))

    def verify(self, host: str, port: int, shown: HostKey, called: str = "") -> None:
        """Trust the key that a host showed, which messages call `called`.

        Raises: RefusedError: it is not known, another one is, or it is revoked.
        """
        called = called or host
        entries = self._about(host, port)
        signer = certified_by(shown.kind, shown.blob, host) if shown.kind.endswith(CERTIFICATE) else None
        for entry in entries:
            if entry.marker == REVOKED and entry.key.blob in (shown.blob, signer):
                raise RefusedError(f"{called}: its host key {shown.fingerprint} is revoked ({entry.where})")
        for entry in entries:
            if entry.key.blob == (signer if entry.marker == AUTHORITY else shown.blob):
                return
        if shown.kind.endswith(CERTIFICATE):
            raise RefusedError(
                f"{called}: its host certificate {shown.fingerprint} is of an authority that is not known",
                f"to trust it, add the authority's {AUTHORITY} line to {self.files[0]}",
            )
        name = _name(host, port)
        if (old := next((one for one in entries if not one.marker and one.names(name)), None)) is None:
            line = f"{name} {shown}"
            raise RefusedError(
                f"{called}: its host key is not known: {shown.kind} {shown.fingerprint}",
                f"compare it with `ssh-keygen -lf /etc/ssh/ssh_host_{_short(shown.kind)}_key.pub` there; "
                f"if it is the same: echo {shlex.quote(line)} >> {shlex.quote(str(self.files[0]))}",
            )
        file = old.where.rpartition(":")[0]
        raise RefusedError(
            f"{called}: its host key changed: {old.key.fingerprint} is known ({old.where}), "
            f"it shows {shown.kind} {shown.fingerprint}",
            "somebody may be in between; if the host was made anew, compare the key there, then: "
            f"ssh-keygen -f {shlex.quote(file)} -R {shlex.quote(name)}",
        )

    def _about(self, host: str, port: int) -> list[Entry]:
        """The lines about a host: with its port and, as ssh does, also those without one."""
        names = {_name(host, port), host.lower()}
        return [entry for entry in self._entries if any(entry.names(name) for name in names)]


def _name(host: str, port: int) -> str:
    return host.lower() if port == PORT else f"[{host.lower()}]:{port}"


def _short(kind: str) -> str:
    """What sshd calls the file of such a key: ed25519, ecdsa, rsa."""
    return kind.removeprefix("ssh-").partition("-")[0]


def _escaped(pattern: str) -> str:
    """fnmatch's brackets are plain letters here."""
    return pattern.replace("[", "[[]")


def _is_hash_of(pattern: str, name: str) -> bool:
    salt, _, digest = pattern.removeprefix(HASHED).partition("|")
    try:
        made = hmac.digest(base64.b64decode(salt), name.encode(), "sha1")
        return hmac.compare_digest(made, base64.b64decode(digest))
    except ValueError:
        return False


def _entries(file: Path) -> Iterator[Entry]:
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return
    for number, line in enumerate(lines, 1):
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#") or marker not in ("", AUTHORITY, REVOKED):
            continue
        try:
            key = HostKey(words[1], base64.b64decode(words[2], validate=True))
        except ValueError:
            continue
        yield Entry(marker, tuple(words[0].split(",")), key, f"{file}:{number}")
