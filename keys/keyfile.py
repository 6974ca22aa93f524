"""Ed25519 private keys in OpenSSH's format, in files of mode 0600 that are never overwritten.

Format: https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.key. Encrypted with aes256-ctr under
bcrypt_pbkdf where a passphrase is given.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from keys.errors import PassphraseError, TrustError
from keys.publickey import PublicKey
from lib.errors import AmpzeroError, MissingError, StorageError, TakenError, UsageError
from lib.files import write_new

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import SSHCertificate, SSHCertificateBuilder

ROUNDS = 24
"""bcrypt_pbkdf rounds: the default of ssh-keygen since OpenSSH 9.4."""
MAX_ROUNDS = 1024
"""A file that asks for more is refused: it would only stop us for hours."""
MAX_FILE = 16 * 1024
MAX_PASSPHRASE = 72
"""Bytes; the limit of the library that does the encryption."""
_BEGIN = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_END = b"-----END OPENSSH PRIVATE KEY-----"
_MAGIC = b"openssh-key-v1\0"


@dataclass(frozen=True)
class PrivateKey:
    """One Ed25519 key; make it with `generate`, `decode` or `load`. It never shows its secret in a repr."""

    _key: Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"PrivateKey({self.public.fingerprint})"

    @classmethod
    def generate(cls) -> PrivateKey:
        """A fresh random key."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.generate())

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return PublicKey(self._key.public_key().public_bytes_raw())

    def sign(self, data: bytes) -> bytes:
        """The 64 bytes of the signature on `data` (RFC 8032, pure Ed25519)."""
        return self._key.sign(data)

    def certify(self, builder: SSHCertificateBuilder) -> SSHCertificate:
        """The OpenSSH certificate of `builder`, signed by this key."""
        return builder.sign(self._key)

    def encode(self, passphrase: str = "") -> bytes:
        """The content of a key file, encrypted where `passphrase` is not empty.

        Raises: UsageError where the passphrase is too long.
        """
        from cryptography.hazmat.primitives import serialization

        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase:
            builder = serialization.PrivateFormat.OpenSSH.encryption_builder().kdf_rounds(ROUNDS)
            encryption = builder.build(check_passphrase(passphrase))
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, encryption
        )


@dataclass(frozen=True)
class Header:
    """What a key file says in the clear."""

    encrypted: bool
    public: PublicKey


def check_passphrase(passphrase: str) -> bytes:
    """The passphrase's bytes.

    Raises: UsageError.
    """
    raw = passphrase.encode(errors="surrogateescape")
    if len(raw) > MAX_PASSPHRASE:
        raise UsageError(
            f"the passphrase has {len(raw)} bytes, at most {MAX_PASSPHRASE} are possible",
            "take a shorter one: six random words are plenty",
        )
    return raw


def header(raw: bytes, where: str = "the key") -> Header:
    """Read the clear part of a key file; no passphrase is needed. `where` names the file in errors.

    Raises: TrustError.
    """
    try:
        blob = _Blob(_unarmour(raw))
        if blob.take(len(_MAGIC)) != _MAGIC:
            raise ValueError("magic")
        cipher, kdf, options = blob.string(), blob.string(), _Blob(blob.string())
        if blob.number() != 1:
            raise ValueError("more than one key")
        kind = _Blob(blob.string())
        if kind.string() != b"ssh-ed25519":
            raise ValueError("not an Ed25519 key")
        public = PublicKey(kind.string())
        if kdf == b"bcrypt":
            options.string()
            if options.number() > MAX_ROUNDS:
                raise ValueError(f"more than {MAX_ROUNDS} rounds")
        return Header(cipher != b"none", public)
    except (ValueError, struct.error, TrustError) as error:
        raise TrustError(
            f"{where} is not a whole Ed25519 private key in OpenSSH format ({error})",
            "restore it from your back-up",
        ) from error


def decode(raw: bytes, passphrase: str = "", where: str = "the key") -> PrivateKey:
    """The key in the content of a key file. A passphrase for a key without one is not used.

    Raises: PassphraseError, TrustError, UsageError.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    clear = header(raw, where)
    if clear.encrypted and not passphrase:
        raise PassphraseError(f"{where} is encrypted", "give its passphrase")
    secret = check_passphrase(passphrase) if clear.encrypted else None
    try:
        key = serialization.load_ssh_private_key(raw, secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if "checksum" in str(error) and clear.encrypted:
            raise PassphraseError(
                f"wrong passphrase for {where}", "try again; nothing was changed"
            ) from error
        raise TrustError(
            f"{where} is not a whole Ed25519 private key in OpenSSH format ({error})",
            "restore it from your back-up",
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise TrustError(f"{where} is not an Ed25519 key")
    private = PrivateKey(key)
    if private.public != clear.public:
        raise TrustError(f"{where} holds a public key that is not its own", "restore it from your back-up")
    return private


def read(path: Path) -> bytes:
    """The content of the key file `path`, which no other user may be able to read.

    Raises: MissingError, StorageError, AmpzeroError.
    """
    try:
        with path.open("rb") as stream:
            mode = stat.S_IMODE(
                os.fstat(stream.fileno()).st_mode
            )  # of what is read, not of what is there now
            raw = stream.read(MAX_FILE + 1)
    except FileNotFoundError as error:
        raise MissingError(f"no key file {path}", "restore it from your back-up") from error
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error}", "see who owns it: ls -l") from error
    if mode & 0o077:
        raise AmpzeroError(f"other users can read the key file {path} (mode {mode:04o})", f"chmod 600 {path}")
    if len(raw) > MAX_FILE:
        raise TrustError(f"{path} is too long for a key file", "restore it from your back-up")
    return raw


def load(path: Path, passphrase: str = "") -> PrivateKey:
    """The key in the file `path`.

    Raises: MissingError, PassphraseError, TrustError, StorageError, AmpzeroError, UsageError.
    """
    return decode(read(path), passphrase, str(path))


def save(path: Path, key: PrivateKey, passphrase: str = "") -> None:
    """Make the file `path`, mode 0600, flushed to the disk.

    Raises: TakenError where it exists, StorageError, UsageError.
    """
    if not write_new(path, key.encode(passphrase), 0o600, sync=True):
        raise TakenError(f"{path} exists", "a key file is never overwritten: move it away first")


def _unarmour(raw: bytes) -> bytes:
    text = raw.strip()
    if len(raw) > MAX_FILE or not text.startswith(_BEGIN) or not text.endswith(_END):
        raise ValueError("no OPENSSH PRIVATE KEY")
    try:
        return base64.b64decode(b"".join(text[len(_BEGIN) : -len(_END)].split()), validate=True)
    except binascii.Error as error:
        raise ValueError("base64") from error


class _Blob:
    """Reads RFC 4251 strings and numbers; ValueError where there are too few bytes."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def take(self, count: int) -> bytes:
        if count > len(self.raw):
            raise ValueError("truncated")
        part, self.raw = self.raw[:count], self.raw[count:]
        return part

    def number(self) -> int:
        value: int = struct.unpack(">I", self.take(4))[0]
        return value

    def string(self) -> bytes:
        return self.take(self.number())
