"""Signatures that OpenSSH checks: SSHSIG, as `ssh-keygen -Y sign` makes them.

Format: https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.sshsig. Ed25519 and SHA-512 only.
"""

from __future__ import annotations

import base64
import hashlib
import struct
import textwrap

from keys.note import SigningKey
from keys.publickey import PublicKey

MAGIC = b"SSHSIG"
VERSION = 1
HASH = b"sha512"
TYPE = b"ssh-ed25519"
SIGNATURE = 64
"""Bytes of an Ed25519 signature."""
MAX_ARMOR = 4096
LINE = 70
"""Characters of a line of the armor, as ssh-keygen writes them."""


def sign(key: SigningKey, message: bytes, namespace: str) -> str:
    """The armored signature of `key` on `message`, good in `namespace` only."""
    made = key.sign(_signed(message, namespace))
    whole = _head(key.public, namespace) + _string(_string(TYPE) + _string(made))
    body = "\n".join(textwrap.wrap(base64.b64encode(whole).decode(), LINE))
    return f"-----BEGIN SSH SIGNATURE-----\n{body}\n-----END SSH SIGNATURE-----\n"


def verifies(key: PublicKey, message: bytes, signature: str, namespace: str) -> bool:
    """Whether `signature` is what `sign` makes of `message` with the private half of `key`."""
    try:
        raw = base64.b64decode("".join(signature.strip().splitlines()[1:-1])[:MAX_ARMOR], validate=True)
    except ValueError:
        return False
    # There is one right way to write it; what stands before the 64 bytes of the signature must be just that.
    head = _head(key, namespace) + struct.pack(">I", len(_string(TYPE)) + 4 + SIGNATURE) + _string(TYPE)
    head += struct.pack(">I", SIGNATURE)
    if not raw.startswith(head) or len(raw) != len(head) + SIGNATURE:
        return False
    return key.verifies(raw[-SIGNATURE:], _signed(message, namespace))


def allowed_signer(identity: str, key: SigningKey, namespace: str) -> str:
    """A line of an allowed-signers file (ssh-keygen(1)): `identity` may sign in `namespace`."""
    return f'{identity} namespaces="{namespace}" {key.public}\n'


def _signed(message: bytes, namespace: str) -> bytes:
    """What is signed: a hash of the message, bound to the namespace."""
    head = MAGIC + _string(namespace.encode()) + _string(b"") + _string(HASH)
    return head + _string(hashlib.sha512(message).digest())


def _head(key: PublicKey, namespace: str) -> bytes:
    """The blob up to the signature itself."""
    head = MAGIC + struct.pack(">I", VERSION) + _string(key.blob) + _string(namespace.encode())
    return head + _string(b"") + _string(HASH)


def _string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value
