"""Key revocation lists of OpenSSH (RevokedKeys of sshd): which keys and certificates are refused.

Format: https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.krl. Only written here, without a
signature, as `ssh-keygen -k` writes it. The source of a list is a text file that can be read and committed:

    key ssh-ed25519 AAAA…                       (a key, and every certificate that it signed)
    certificate 1234567890 ssh-ed25519 AAAA…    (the serial of a certificate, and the key that signed it)
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from keys.errors import TrustError

MAGIC = 0x5353484B524C0A00
FORMAT = 1
CERTIFICATES, EXPLICIT_KEYS, SERIAL_LIST = 1, 2, 0x20
MAX_ENTRIES = 10_000
MAX_FILE = 4 * 1024 * 1024
COMMENT = "ampzero"
_CERTIFICATE = re.compile(r"certificate (0|[1-9][0-9]{0,19}) (\S+ \S+)", re.ASCII)


@dataclass(frozen=True)
class Revoked:
    """Revoked keys, as lines of OpenSSH, and serials of certificates by the line of the key that signed."""

    keys: frozenset[str] = frozenset()
    certificates: frozenset[tuple[str, int]] = frozenset()

    def __or__(self, other: Revoked) -> Revoked:
        return Revoked(self.keys | other.keys, self.certificates | other.certificates)

    def __str__(self) -> str:
        lines = [f"key {line}\n" for line in sorted(self.keys)]
        lines += [f"certificate {serial} {ca}\n" for ca, serial in sorted(self.certificates)]
        return "".join(lines)


def parse(raw: bytes) -> Revoked:
    """The source of a list, read back.

    Raises: TrustError.
    """
    keys: set[str] = set()
    certificates: set[tuple[str, int]] = set()
    lines = raw.decode(errors="replace").splitlines() if len(raw) <= MAX_FILE else [""] * (MAX_ENTRIES + 1)
    if len(lines) > MAX_ENTRIES:
        raise TrustError(f"a list of more than {MAX_ENTRIES} revoked keys")
    for number, line in enumerate(lines, 1):
        if line.startswith("key "):
            keys.add(line.removeprefix("key "))
            blob(line.removeprefix("key "))
        elif found := _CERTIFICATE.fullmatch(line):
            if int(found[1]) >= 1 << 64:
                raise TrustError(f"line {number}: not the serial of a certificate")
            certificates.add((found[2], int(found[1])))
            blob(found[2])
        else:
            raise TrustError(f"line {number} is neither `key …` nor `certificate …`")
    return Revoked(frozenset(keys), frozenset(certificates))


def render(revoked: Revoked, now: datetime) -> bytes:
    """The list that sshd reads. Its number is the time, so that a newer list has a higher one.

    Raises: TrustError.
    """
    if len(revoked.keys) + len(revoked.certificates) > MAX_ENTRIES:
        raise TrustError(f"a list of more than {MAX_ENTRIES} revoked keys")
    moment = int(now.timestamp())
    whole = struct.pack(">QIQQQ", MAGIC, FORMAT, moment, moment, 0) + _string(b"") + _string(COMMENT.encode())
    if revoked.keys:
        whole += _section(EXPLICIT_KEYS, (_string(key) for key in sorted(map(blob, revoked.keys))))
    for ca in sorted({ca for ca, _ in revoked.certificates}):
        # 0 is the serial of those without one; it cannot be revoked by its serial.
        serials = sorted({serial for signer, serial in revoked.certificates if signer == ca and serial})
        if serials:
            listed = _section(SERIAL_LIST, (struct.pack(">Q", serial) for serial in serials))
            whole += _section(CERTIFICATES, (_string(blob(ca)), _string(b""), listed))
    return whole


def blob(line: str) -> bytes:
    """The bytes of a public key's line.

    Raises: TrustError.
    """
    kind, _, value = line.partition(" ")
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise TrustError(f"not a public key of OpenSSH: {line[:40]!r}") from error
    if not raw.startswith(_string(kind.encode(errors="replace"))):
        raise TrustError(f"not a public key of OpenSSH: {line[:40]!r}")
    return raw


def _section(kind: int, parts: Iterable[bytes]) -> bytes:
    return bytes([kind]) + _string(b"".join(parts))


def _string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value
