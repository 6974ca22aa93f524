"""The keys that are offered to a host: of the agent, or from files; one where one is configured."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import paramiko
from paramiko.agent import AgentKey, AgentSSH
from paramiko.pkey import PublicBlob

from deploy.transport.hostcertificate import CERTIFICATE
from deploy.transport.target import Target
from deploy.transport.usercertificate import UserCertificates
from lib.errors import UnreachableError

USUAL = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
MOST = 5
"""Keys that are offered where none is configured: sshd ends a connection after six (MaxAuthTries)."""
OPENSSH = b"openssh-key-v1\0"


@contextmanager
def held(target: Target) -> Iterator[list[AgentKey]]:
    """The keys of the target's agent, which sign while this is open. Without an agent there are none."""
    agent = AgentSSH()
    with socket.socket(socket.AF_UNIX) as connection:
        keys: list[AgentKey] = []
        with suppress(OSError, paramiko.SSHException):
            if target.agent:
                connection.settimeout(target.timeout)
                connection.connect(target.agent)
                # paramiko's own way to this always takes the agent of SSH_AUTH_SOCK.
                agent._connect(connection)  # type: ignore[attr-defined]  # the stubs leave out what is private
                keys = [_with_certificate(key) for key in agent.get_keys()]
        yield keys


def offers(
    target: Target, agent: list[AgentKey], certificates: UserCertificates | None = None
) -> Iterator[paramiko.PKey]:
    """The keys to offer, best first.

    Raises: UnreachableError where a configured key cannot be used.
    """
    if certificates is not None:
        yield certificates.key(target.user)
    if target.keys:
        for path in target.keys:
            yield from _of(path, target, agent)
        return
    known = [] if target.only_files else agent[:MOST]
    yield from known
    for path in [Path(one).expanduser() for one in USUAL]:
        if path.is_file() and _public(path) not in [key.blob for key in known]:
            with suppress(UnreachableError):
                yield from _of(path, target, agent)


def describe(key: paramiko.PKey) -> str:
    """A key as `ssh-keygen -l` shows it."""
    return f"{key.get_name().removesuffix(CERTIFICATE)} {key.fingerprint}"


def _of(path: Path, target: Target, agent: list[AgentKey]) -> Iterator[paramiko.PKey]:
    """The key of a file: with the certificate beside it, by the agent where that has it."""
    public = _public(path)
    certificate = target.certificate or path.with_name(f"{path.name}-cert.pub")
    key: paramiko.PKey = next((one for one in agent if public and one.blob == public), None) or _load(path)
    if certificate.is_file():
        try:
            key.load_certificate(str(certificate))
        except (ValueError, paramiko.SSHException) as error:
            raise UnreachableError(f"{certificate}: not a certificate of {path}: {error}") from error
    yield key


def _load(path: Path) -> paramiko.PKey:
    try:
        return paramiko.PKey.from_path(path)
    except (TypeError, paramiko.PasswordRequiredException) as error:  # cryptography's way to ask for one
        raise UnreachableError(
            f"{path}: the key is encrypted and no agent has it", f"start an agent and: ssh-add {path}"
        ) from error
    except OSError as error:
        raise UnreachableError(f"{path}: the key cannot be read: {error.strerror}") from error
    except (ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType) as error:
        raise UnreachableError(f"{path}: not a private key: {error}") from error


def _with_certificate(key: AgentKey) -> AgentKey:
    """A certificate in an agent is offered as itself; paramiko would offer the key that is in it."""
    if key.name.endswith(CERTIFICATE):
        key.public_blob = PublicBlob(key.name, key.blob)  # type: ignore[assignment]  # the stubs say None
    return key


def _public(path: Path) -> bytes:
    """The public key of a private key's file, though that be encrypted; nothing where it does not say."""
    with suppress(OSError, ValueError, IndexError, paramiko.SSHException):
        beside = path.with_name(f"{path.name}.pub")
        if beside.is_file():
            return base64.b64decode(beside.read_text().split()[1])
        inner = "".join(line for line in path.read_text().splitlines() if not line.startswith("-----"))
        data = base64.b64decode(inner)
        if data.startswith(OPENSSH):
            message = paramiko.Message(data[len(OPENSSH) :])
            for _ in range(3):  # cipher, key derivation and its options
                message.get_string()
            message.get_int()
            return message.get_binary()
    return b""
